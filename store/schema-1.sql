-- Version 1 of the schema. Explained table by table in SCHEMA.md; never changed once it is released.

CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  uuid TEXT NOT NULL,
  node_id TEXT NOT NULL DEFAULT '',
  boot_id TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  policy_epoch INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 0,
  changes_base INTEGER NOT NULL DEFAULT 0,
  audit_sequence INTEGER NOT NULL DEFAULT 0,
  audit_hash BLOB NOT NULL DEFAULT (zeroblob(32)),
  audit_base_sequence INTEGER NOT NULL DEFAULT 0,
  audit_base_hash BLOB NOT NULL DEFAULT (zeroblob(32)),
  audit_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE bundles (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL CHECK (name <> ''),
  major INTEGER NOT NULL,
  minor INTEGER NOT NULL,
  patch INTEGER NOT NULL,
  digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 64),
  size_bytes INTEGER NOT NULL CHECK (size_bytes BETWEEN 1 AND 16777216),
  description TEXT NOT NULL,
  expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
  pushed_at INTEGER NOT NULL CHECK (pushed_at >= 0),
  pushed_by TEXT NOT NULL,
  obsoletes_major INTEGER,
  obsoletes_minor INTEGER,
  obsoletes_patch INTEGER,
  budgets BLOB NOT NULL,
  revision INTEGER NOT NULL,
  UNIQUE (name, major, minor, patch)
) STRICT;

CREATE TABLE bundle_bytes (
  bundle INTEGER PRIMARY KEY REFERENCES bundles (id) ON DELETE CASCADE,
  bytes BLOB NOT NULL
) STRICT;

CREATE TABLE bundle_signatures (
  bundle INTEGER NOT NULL REFERENCES bundles (id) ON DELETE CASCADE,
  ordinal INTEGER NOT NULL,
  minisig BLOB NOT NULL,
  key_id TEXT NOT NULL,
  signer TEXT NOT NULL,
  trusted_comment TEXT NOT NULL,
  PRIMARY KEY (bundle, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle_btf (
  bundle INTEGER NOT NULL REFERENCES bundles (id) ON DELETE CASCADE,
  object TEXT NOT NULL,
  btf BLOB NOT NULL,
  PRIMARY KEY (bundle, object)
) STRICT;

CREATE TABLE floors (
  name TEXT PRIMARY KEY,
  major INTEGER NOT NULL,
  minor INTEGER NOT NULL,
  patch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 64),
  bundle TEXT NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  reason TEXT NOT NULL,
  figures TEXT NOT NULL,
  instance TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (
  id TEXT PRIMARY KEY CHECK (length(id) = 16),
  label TEXT NOT NULL,
  owner TEXT NOT NULL,
  bundle_digest BLOB NOT NULL REFERENCES bundles (digest),
  durability INTEGER NOT NULL CHECK (durability BETWEEN 1 AND 3),
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 9),
  reason TEXT NOT NULL,
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  loaded_at INTEGER NOT NULL CHECK (loaded_at >= 0),
  boot_id TEXT NOT NULL,
  lease_ends_at INTEGER NOT NULL CHECK (lease_ends_at >= 0),
  lease_token_hash BLOB CHECK (length(lease_token_hash) = 32),
  generation INTEGER NOT NULL DEFAULT 0,
  previous_digest BLOB REFERENCES bundles (digest),
  previous_generation INTEGER NOT NULL DEFAULT 0,
  soak_ends_at INTEGER NOT NULL DEFAULT 0 CHECK (soak_ends_at >= 0),
  budget BLOB NOT NULL,
  revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX instances_label ON instances (label, owner) WHERE label <> '';
CREATE INDEX instances_bundle ON instances (bundle_digest);
CREATE INDEX instances_previous ON instances (previous_digest) WHERE previous_digest IS NOT NULL;

CREATE TABLE parameters (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  ordinal INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance, ordinal),
  UNIQUE (instance, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE programs (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL CHECK (name <> ''),
  ordinal INTEGER NOT NULL,
  object TEXT NOT NULL,
  type TEXT NOT NULL,
  kernel_id INTEGER NOT NULL,
  tag BLOB NOT NULL CHECK (length(tag) = 8),
  verified_insns INTEGER NOT NULL,
  skipped_reason TEXT NOT NULL,
  spec BLOB NOT NULL,
  verifier BLOB NOT NULL,
  revision INTEGER NOT NULL,
  PRIMARY KEY (instance, name),
  UNIQUE (instance, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE maps (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL CHECK (name <> ''),
  ordinal INTEGER NOT NULL,
  object TEXT NOT NULL,
  type TEXT NOT NULL,
  key_size INTEGER NOT NULL,
  value_size INTEGER NOT NULL,
  max_entries INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  access INTEGER NOT NULL,
  contents INTEGER NOT NULL,
  kernel_id INTEGER NOT NULL,
  frozen INTEGER NOT NULL,
  key_type_id INTEGER NOT NULL,
  value_type_id INTEGER NOT NULL,
  event_type_id INTEGER NOT NULL,
  spec BLOB NOT NULL,
  revision INTEGER NOT NULL,
  PRIMARY KEY (instance, name),
  UNIQUE (instance, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE map_entries (
  instance TEXT NOT NULL,
  map TEXT NOT NULL,
  key BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (instance, map, key),
  FOREIGN KEY (instance, map) REFERENCES maps (instance, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE previous_parameters (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  ordinal INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance, ordinal),
  UNIQUE (instance, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE previous_programs (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL CHECK (name <> ''),
  ordinal INTEGER NOT NULL,
  object TEXT NOT NULL,
  type TEXT NOT NULL,
  kernel_id INTEGER NOT NULL,
  tag BLOB NOT NULL CHECK (length(tag) = 8),
  verified_insns INTEGER NOT NULL,
  skipped_reason TEXT NOT NULL,
  spec BLOB NOT NULL,
  verifier BLOB NOT NULL,
  PRIMARY KEY (instance, name),
  UNIQUE (instance, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE previous_maps (
  instance TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL CHECK (name <> ''),
  ordinal INTEGER NOT NULL,
  object TEXT NOT NULL,
  type TEXT NOT NULL,
  key_size INTEGER NOT NULL,
  value_size INTEGER NOT NULL,
  max_entries INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  access INTEGER NOT NULL,
  contents INTEGER NOT NULL,
  kernel_id INTEGER NOT NULL,
  frozen INTEGER NOT NULL,
  key_type_id INTEGER NOT NULL,
  value_type_id INTEGER NOT NULL,
  event_type_id INTEGER NOT NULL,
  spec BLOB NOT NULL,
  kept INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (instance, name),
  UNIQUE (instance, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE previous_entries (
  instance TEXT NOT NULL,
  map TEXT NOT NULL,
  key BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (instance, map, key),
  FOREIGN KEY (instance, map) REFERENCES previous_maps (instance, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE links (
  id TEXT PRIMARY KEY CHECK (length(id) = 16),
  instance TEXT NOT NULL,
  program TEXT NOT NULL,
  hook_kind TEXT NOT NULL,
  hook TEXT NOT NULL,
  target BLOB NOT NULL,
  spec BLOB NOT NULL,
  places BLOB NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
  reason TEXT NOT NULL,
  kernel_id INTEGER NOT NULL,
  attached_at INTEGER NOT NULL CHECK (attached_at >= 0),
  resolved_offset INTEGER NOT NULL,
  resolved_dev INTEGER NOT NULL,
  resolved_inode INTEGER NOT NULL,
  selected_by TEXT NOT NULL,
  revision INTEGER NOT NULL,
  FOREIGN KEY (instance, program) REFERENCES programs (instance, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX links_program ON links (instance, program);
CREATE INDEX links_target ON links (target);
CREATE INDEX links_selected ON links (selected_by) WHERE selected_by <> '';

CREATE TABLE ops (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  instance TEXT NOT NULL,
  link TEXT NOT NULL,
  step TEXT NOT NULL,
  started_at INTEGER NOT NULL CHECK (started_at >= 0),
  identity TEXT NOT NULL,
  method TEXT NOT NULL,
  request_id TEXT NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE requests (
  id INTEGER PRIMARY KEY,
  identity TEXT NOT NULL,
  method TEXT NOT NULL,
  request_id TEXT NOT NULL,
  body_hash BLOB NOT NULL CHECK (length(body_hash) = 32),
  at INTEGER NOT NULL CHECK (at >= 0),
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  response BLOB NOT NULL,
  UNIQUE (request_id, method, identity)
) STRICT;

CREATE TABLE changes (
  revision INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY,
  at INTEGER NOT NULL CHECK (at >= 0),
  identity TEXT NOT NULL,
  claimed_actor TEXT NOT NULL,
  verb TEXT NOT NULL,
  object TEXT NOT NULL,
  digest BLOB NOT NULL,
  signers TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  duration_ns INTEGER NOT NULL,
  count INTEGER NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_trims ON audit (sequence) WHERE verb = 'audit_trim';

CREATE TABLE audit_open (
  identity TEXT NOT NULL,
  verb TEXT NOT NULL,
  object TEXT NOT NULL,
  reason TEXT NOT NULL,
  first_sequence INTEGER NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  count INTEGER NOT NULL,
  PRIMARY KEY (identity, verb, object, reason)
) STRICT, WITHOUT ROWID;

CREATE VIEW audit_log AS
SELECT sequence,
  strftime('%Y-%m-%dT%H:%M:%S', at / 1000000000, 'unixepoch')
    || printf('.%09dZ', at % 1000000000) AS at,
  identity, claimed_actor, verb, object, lower(hex(digest)) AS digest, signers, outcome, reason,
  detail, duration_ns / 1e6 AS duration_ms, count, lower(hex(hash)) AS hash
FROM audit;

CREATE VIEW bundle_signers AS
SELECT b.name || '@' || b.major || '.' || b.minor || '.' || b.patch AS bundle,
  lower(hex(b.digest)) AS digest, s.key_id, s.signer, s.trusted_comment,
  strftime('%Y-%m-%dT%H:%M:%S', b.pushed_at / 1000000000, 'unixepoch')
    || printf('.%09dZ', b.pushed_at % 1000000000) AS pushed_at,
  b.pushed_by
FROM bundles b JOIN bundle_signatures s ON s.bundle = b.id;

CREATE VIEW quarantined AS
SELECT bundle, lower(hex(digest)) AS digest, reason, figures, instance,
  strftime('%Y-%m-%dT%H:%M:%S', at / 1000000000, 'unixepoch')
    || printf('.%09dZ', at % 1000000000) AS at
FROM quarantine;

CREATE VIEW loaded_programs AS
SELECT p.instance, i.label, i.owner,
  b.name || '@' || b.major || '.' || b.minor || '.' || b.patch AS bundle,
  lower(hex(b.digest)) AS digest,
  (SELECT coalesce(group_concat(s.key_id || iif(s.signer = '', '', ' ' || s.signer), ', '), '')
    FROM bundle_signatures s WHERE s.bundle = b.id) AS signed_by,
  p.name AS program, p.type, p.kernel_id, lower(hex(p.tag)) AS tag,
  CASE i.state WHEN 1 THEN 'LOADING' WHEN 2 THEN 'READY' WHEN 3 THEN 'ATTACHED'
    WHEN 4 THEN 'DEGRADED' WHEN 5 THEN 'FAILED' WHEN 6 THEN 'UNLOADING'
    WHEN 7 THEN 'REPLACING' WHEN 8 THEN 'SOAKING' WHEN 9 THEN 'QUARANTINED' END AS state,
  i.reason,
  CASE i.durability WHEN 1 THEN 'persistent' WHEN 2 THEN 'boot' WHEN 3 THEN 'lease' END
    AS durability,
  strftime('%Y-%m-%dT%H:%M:%S', i.created_at / 1000000000, 'unixepoch')
    || printf('.%09dZ', i.created_at % 1000000000) AS created_at,
  iif(i.loaded_at = 0, '', strftime('%Y-%m-%dT%H:%M:%S', i.loaded_at / 1000000000, 'unixepoch')
    || printf('.%09dZ', i.loaded_at % 1000000000)) AS loaded_at
FROM programs p JOIN instances i ON i.id = p.instance
JOIN bundles b ON b.digest = i.bundle_digest
WHERE p.skipped_reason = '';

CREATE VIEW attachments AS
SELECT l.id AS link, l.instance, i.label, i.owner,
  b.name || '@' || b.major || '.' || b.minor || '.' || b.patch AS bundle,
  l.program, l.hook,
  CASE l.state WHEN 1 THEN 'PENDING_TARGET' WHEN 2 THEN 'ATTACHED' WHEN 3 THEN 'TARGET_GONE'
    WHEN 4 THEN 'DRIFTED' WHEN 5 THEN 'DETACHED' END AS state,
  l.reason, l.kernel_id,
  iif(l.attached_at = 0, '', strftime('%Y-%m-%dT%H:%M:%S', l.attached_at / 1000000000, 'unixepoch')
    || printf('.%09dZ', l.attached_at % 1000000000)) AS attached_at
FROM links l JOIN instances i ON i.id = l.instance
JOIN bundles b ON b.digest = i.bundle_digest;
