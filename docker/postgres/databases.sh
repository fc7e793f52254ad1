#!/bin/sh
# Run once, on an empty server: a database for Dagster and one for MLflow, each with an owner who sees
# nothing of the other.
set -eu

for book in dagster mlflow; do
    case $book in
        dagster) password=${DAGSTER_PASSWORD:?is not set} ;;
        mlflow) password=${MLFLOW_PASSWORD:?is not set} ;;
    esac
    psql -v ON_ERROR_STOP=1 --quiet --username postgres --dbname postgres \
        -v book="$book" -v password="$password" <<'SQL'
CREATE ROLE :"book" LOGIN PASSWORD :'password';
CREATE DATABASE :"book" OWNER :"book";
REVOKE CONNECT ON DATABASE :"book" FROM PUBLIC;
SQL
done
