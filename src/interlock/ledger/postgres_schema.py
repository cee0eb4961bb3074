"""The ledger in PostgreSQL: the same tables as in SQLite, in the schema `interlock`, and the function that appends.

Many gateways write one chain. `append_group` takes an advisory lock, reads the head, numbers, hashes and inserts a
group, all inside the server and in one round trip: no client holds the lock, so one that freezes or loses its network
stops nobody. A writer numbers its groups, and `writers` remembers the last number that was committed: a group that is
sent again, since nobody knew whether it had arrived, is not appended twice.

    rows, attachments, checkpoints, snapshots    as in store.py
    writers                                      the last group of each process that ever wrote
    ledger                                       the version of all this
"""

from __future__ import annotations

from .chain import GENESIS

VERSION = 1
OLDEST_SERVER = 130000
LOCK, LEADER, SETUP = 0x494C4B31, 0x494C4B32, 0x494C4B33  # of advisory locks; the first two with the table's oid

ROW_TAG, CHECKPOINT_TAG = rb"interlock.row.1" + b"\0", rb"interlock.checkpoint.1" + b"\0"

SCHEMA = f"""
CREATE SCHEMA IF NOT EXISTS interlock;
CREATE TABLE ledger(version integer NOT NULL);
INSERT INTO ledger VALUES ({VERSION});
CREATE TABLE rows(
    seq bigint PRIMARY KEY, at double precision NOT NULL, kind text COLLATE "C" NOT NULL,
    decision_id text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL,
    body bytea NOT NULL, prev bytea NOT NULL, hash bytea NOT NULL
);
CREATE INDEX rows_of_decision ON rows(decision_id, seq) WHERE decision_id != '';
CREATE INDEX rows_of_tenant ON rows(tenant, seq) WHERE tenant != '';
CREATE INDEX rows_of_audit ON rows(seq) WHERE kind = 'audit';
CREATE TABLE attachments(
    seq bigint NOT NULL, name text COLLATE "C" NOT NULL, salt bytea NOT NULL, blob bytea NOT NULL,
    PRIMARY KEY(seq, name)
);
CREATE TABLE checkpoints(
    seq bigint PRIMARY KEY, at double precision NOT NULL, hash bytea NOT NULL, mark bytea NOT NULL
);
CREATE TABLE snapshots(
    version text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL, at double precision NOT NULL, maker text NOT NULL,
    state bytea NOT NULL, trust bytea NOT NULL, mark bytea NOT NULL
);
CREATE TABLE writers(
    writer text PRIMARY KEY, number bigint NOT NULL, first bigint NOT NULL, at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;
CREATE TRIGGER rows_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON rows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the ledger is append-only');
CREATE TRIGGER attachments_keep BEFORE UPDATE OR TRUNCATE ON attachments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('attachments are erased, never changed');

CREATE FUNCTION append_group(
    of_writer text, of_number bigint, checkpoint_every bigint, ats double precision[], kinds text[], decisions text[],
    tenants text[], bodies bytea[], places bigint[], names text[], salts bytea[], blobs bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    seq bigint := 0; first bigint; prev bytea := '\\x{GENESIS.hex()}'; hash bytea; mark bytea;
    entry record; last record; at double precision;
BEGIN
    PERFORM pg_advisory_xact_lock({LOCK}, 'rows'::regclass::oid::integer);
    SELECT w.number, w.first INTO last FROM writers w WHERE w.writer = of_writer;
    IF FOUND AND last.number >= of_number THEN
        RETURN CASE WHEN last.number = of_number THEN last.first ELSE 0 END;
    END IF;
    SELECT r.seq, r.hash INTO last FROM rows r ORDER BY r.seq DESC LIMIT 1;
    IF FOUND THEN seq := last.seq; prev := last.hash; END IF;
    first := seq + 1;
    FOR entry IN
        SELECT * FROM unnest(ats, kinds, decisions, tenants, bodies) AS e(at, kind, decision, tenant, body)
    LOOP
        seq := seq + 1;
        hash := sha256('\\x{ROW_TAG.hex()}'::bytea || prev || int8send(seq) || float8send(entry.at)
            || int4send(octet_length(entry.kind)) || int4send(octet_length(entry.decision))
            || int4send(octet_length(entry.tenant)) || int4send(octet_length(entry.body))
            || convert_to(entry.kind, 'UTF8') || convert_to(entry.decision, 'UTF8')
            || convert_to(entry.tenant, 'UTF8') || entry.body);
        INSERT INTO rows
            VALUES (seq, entry.at, entry.kind, entry.decision, entry.tenant, entry.body, prev, hash);
        prev := hash;
        IF seq % checkpoint_every = 0 THEN
            SELECT c.mark INTO mark FROM checkpoints c ORDER BY c.seq DESC LIMIT 1;
            at := extract(epoch FROM clock_timestamp());
            mark := sha256('\\x{CHECKPOINT_TAG.hex()}'::bytea || coalesce(mark, '\\x{GENESIS.hex()}'::bytea)
                || int8send(seq) || float8send(at) || hash);
            INSERT INTO checkpoints VALUES (seq, at, hash, mark);
        END IF;
    END LOOP;
    INSERT INTO attachments
        SELECT first + a.place, a.name, a.salt, a.blob
        FROM unnest(places, names, salts, blobs) AS a(place, name, salt, blob);
    INSERT INTO writers AS w VALUES (of_writer, of_number, first)
        ON CONFLICT (writer) DO UPDATE SET number = of_number, first = excluded.first, at = now();
    IF 'audit' = ANY(kinds) THEN PERFORM pg_notify('interlock_' || 'rows'::regclass::oid, ''); END IF;
    RETURN first;
END $$;
"""

APPEND = "SELECT append_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
OID = "SELECT 'rows'::regclass::oid::bigint"
