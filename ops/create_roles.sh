#!/bin/sh
# Runs once in a new PostgreSQL container: the four roles and who may enter the database.
# The same as `quickkub database roles` prints; passwords come from the environment.
set -eu

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  -v owner="$OWNER_PASSWORD" -v app="$APP_PASSWORD" -v auditor="$AUDITOR_PASSWORD" -v sandbox="$SANDBOX_PASSWORD" <<'SQL'
CREATE ROLE quickkub_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner';
CREATE ROLE quickkub_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app';
CREATE ROLE quickkub_auditor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'auditor';
CREATE ROLE quickkub_sandbox LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'sandbox';
ALTER DATABASE quickkub OWNER TO quickkub_owner;
REVOKE ALL ON DATABASE quickkub FROM PUBLIC;
GRANT CONNECT ON DATABASE quickkub TO quickkub_owner, quickkub_app, quickkub_auditor, quickkub_sandbox;
SQL
