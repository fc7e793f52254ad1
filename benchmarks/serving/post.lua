-- Posts the body in the file args[1] with the content type application/json, or with the header
-- args[2], args[3] beside that of binary tensors.
local body, wanted

function init(args)
  local file = assert(io.open(args[1], "rb"))
  body = file:read("*a")
  file:close()
  local headers = { ["content-type"] = "application/json" }
  if args[2] then
    headers = { ["content-type"] = "application/octet-stream", [args[2]] = args[3] }
  end
  wanted = wrk.format("POST", nil, headers, body)
end

function request()
  return wanted
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout))
end
