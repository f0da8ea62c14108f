-- Who logs in, with psql 14 or newer, as somebody who may make roles, once and before `ingest migrate`:
--   OWNER_PASSWORD=... WRITER_PASSWORD=... READER_PASSWORD=... psql -v ON_ERROR_STOP=1 -f users.sql DATABASE
-- README, "Who may do what", says what the roles may.
\getenv owner_password OWNER_PASSWORD
\getenv writer_password WRITER_PASSWORD
\getenv reader_password READER_PASSWORD

-- The extension's jobs run as the owner of the tables, who therefore must be one who may log in.
CREATE ROLE ingest_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE ingest_writer NOLOGIN;
CREATE ROLE ingest_reader NOLOGIN;
CREATE ROLE collector LOGIN PASSWORD :'writer_password' IN ROLE ingest_writer;
CREATE ROLE analyst LOGIN PASSWORD :'reader_password' IN ROLE ingest_reader;

SELECT format('ALTER DATABASE %I OWNER TO ingest_owner', current_database()) \gexec
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) \gexec
