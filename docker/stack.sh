#!/bin/sh
# The product in containers, with whichever compose is there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-$root/.venv/bin/python}
settings=${MLOPS_STACK:-$here/.env}
SECONDS_TO_START=240

help() {
    cat <<TEXT
Usage: docker/stack.sh up [--without-registry] | down [--volumes] | COMMAND OF COMPOSE ...

up      builds what is missing, starts everything, waits until all is healthy, says where it is.
        --without-registry builds PostgreSQL, HAProxy and Prometheus too, from Debian's packages
down    ends everything, with the replicas, the gateway and the runs that were started within.
        --volumes forgets the databases as well
Any other command goes to compose with the right files: docker/stack.sh logs -f daemon

Settings and passwords are in $settings, which the first \`up\` writes; change it and \`up\`
again. MLOPS_STACK names another file, for another stack on the same machine.
TEXT
}

fail() { echo "docker/stack.sh: $1" >&2; exit 1; }

setting() { sed -n "s/^$1=//p" "$settings" | tail -n 1; }

# Adds a line, or replaces it; the file is never half written and for nobody else to read.
set_to() {
    ( umask 077; : > "$settings.new" )
    { [ ! -f "$settings" ] || grep -v "^$1=" "$settings" || true; echo "$1=$2"; } > "$settings.new"
    mv "$settings.new" "$settings"
}

default() { [ -f "$settings" ] && grep -q "^$1=" "$settings" || set_to "$1" "$2"; }

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --env-file "$settings" --file "$here/compose.yaml" "$@"
    elif command -v docker-compose >/dev/null; then
        docker-compose --env-file "$settings" --file "$here/compose.yaml" "$@"
    else
        fail "there is neither 'docker compose' nor docker-compose; install one of them"
    fi
}

prepare() {
    default COMPOSE_PROJECT_NAME mlops
    default MLOPS_HOME "$root/.mlops-compose"
    default MLOPS_PROJECT "$root"
    default MLOPS_PROJECT_ENV "$here/project.env"
    default MLOPS_ENV compose
    default MLOPS_BIND 127.0.0.1
    default DAGSTER_PORT 3000
    default MLFLOW_PORT 5000
    default PROMETHEUS_PORT 9090
    for name in POSTGRES DAGSTER MLFLOW; do default ${name}_PASSWORD "$(secret)"; done
    socket=${DOCKER_SOCKET:-/var/run/docker.sock}
    [ -S "$socket" ] || fail "$socket is no socket of a Docker engine; name it with DOCKER_SOCKET"
    default DOCKER_SOCKET "$socket"
    default DOCKER_GROUP "$(stat -c %g "$socket")"
    # root's files would be root's in the containers too, and nothing there runs as root.
    if [ "$(id -u)" = 0 ]; then
        default MLOPS_USER "${SUDO_UID:-65532}:${SUDO_GID:-65532}"
    else
        default MLOPS_USER "$(id -u):$(id -g)"
    fi
    [ -e "$(setting MLOPS_PROJECT_ENV)" ] || : > "$(setting MLOPS_PROJECT_ENV)"
    home=$(setting MLOPS_HOME)
    mkdir -p "$home/dagster"
    [ "$(id -u)" != 0 ] || chown "$(setting MLOPS_USER)" "$home" "$home/dagster"
}

# Waits for what Docker itself was told to look at; one that ended for good is an error at once.
wait_healthy() {
    deadline=$(($(date +%s) + SECONDS_TO_START))
    while :; do
        states=$(docker inspect --format \
            '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{.State.Health.Status}}' \
            $(compose ps -q))
        waiting=$(echo "$states" | grep -v ' running healthy$' || true)
        [ -n "$waiting" ] || return 0
        [ "$(date +%s)" -lt "$deadline" ] || break
        sleep 1
    done
    for service in $(echo "$waiting" | cut -d ' ' -f 1); do
        compose logs --tail=20 "$service" >&2
    done
    fail "not healthy after $SECONDS_TO_START s: $(echo "$waiting" | tr '\n' ';')"
}

up() {
    case ${1:-} in ''|--without-registry) ;; *) fail "$1 is no option of up; see --help" ;; esac
    [ -x "$python" ] || fail "there is no $python; make up makes it"
    prepare
    export BASE_IMAGE="${BASE_IMAGE:-$(setting BASE_IMAGE)}"
    place=$("$python" "$here/place.py" "$(setting MLOPS_PROJECT)" "$(setting MLOPS_ENV)")
    wheelhouse=${MLOPS_WHEELHOUSE:-$root/.mlops/wheelhouse}
    images=$("$python" "$here/images.py" "$@" --wheelhouse "$wheelhouse")
    for line in $place $images; do set_to "${line%%=*}" "${line#*=}"; done
    compose up --detach --remove-orphans
    wait_healthy
    bind=$(setting MLOPS_BIND)
    cat <<TEXT
Dagster     http://$bind:$(setting DAGSTER_PORT)
MLflow      http://$bind:$(setting MLFLOW_PORT)
models      $(setting GATEWAY_ADDRESS)/models/<model>/invocations (from the first release on)
Prometheus  http://$bind:$(setting PROMETHEUS_PORT)
TEXT
}

down() {
    [ -f "$settings" ] || fail "$settings is not there: nothing was started with it"
    # First those who would start others.
    compose stop daemon webserver code
    started=$(docker ps --all --quiet --filter "network=$(setting MLOPS_NETWORK)" --filter label=mlops.role)
    [ -z "$started" ] || docker stop $started >/dev/null
    [ -z "$started" ] || docker rm --force --volumes $started >/dev/null 2>&1 || true
    compose down --remove-orphans "$@"
}

case ${1:---help} in
    -h|--help) help ;;
    up) shift; up "$@" ;;
    down) shift; down "$@" ;;
    *) [ -f "$settings" ] || fail "$settings is not there; docker/stack.sh up writes it"
       compose "$@" ;;
esac
