CREATE TABLE @.ledger (
  id      int4  PRIMARY KEY CHECK (id = 1),
  genesis bytea NOT NULL CHECK (octet_length(genesis) = 32)
);

CREATE TABLE @.head (
  id       int4  PRIMARY KEY CHECK (id = 1),
  epoch    int8  NOT NULL CHECK (epoch >= 0),
  height   int8  NOT NULL CHECK (height >= 0),
  log_size int8  NOT NULL CHECK (log_size >= 0),
  root     bytea NOT NULL CHECK (octet_length(root) = 32),
  part     int4  NOT NULL CHECK (part >= 0),
  in_part  int8  NOT NULL CHECK (in_part >= 0),
  spent    int8  NOT NULL CHECK (spent >= 0)
);

CREATE TABLE @.blocks (
  height        int8  PRIMARY KEY,
  time_millis   int8  NOT NULL,
  first_index   int8  NOT NULL,
  entries       int4  NOT NULL,
  segments      int4  NOT NULL,
  root          bytea NOT NULL,
  tree          int4  NOT NULL,
  tree_size     int8  NOT NULL,
  note_root     bytea NOT NULL,
  registry_root bytea NOT NULL,
  readers_root  bytea NOT NULL,
  sequences     bytea NOT NULL,
  nullifiers    bytea NOT NULL,
  tail          bytea NOT NULL
);

CREATE UNIQUE INDEX blocks_first_index ON @.blocks (first_index);

CREATE TABLE @.entries (
  first_index int8  PRIMARY KEY,
  height      int8  NOT NULL,
  bundle      bytea NOT NULL
);

CREATE TABLE @.segments (
  height int8  NOT NULL,
  part   int4  NOT NULL,
  bundle bytea NOT NULL,
  PRIMARY KEY (height, part)
);

CREATE TABLE @.commitments (
  height int8  NOT NULL,
  part   int4  NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (height, part)
);

CREATE TABLE @.nullifiers (
  part        int4  NOT NULL,
  nullifier   bytea NOT NULL CHECK (octet_length(nullifier) = 32),
  entry_index int8  NOT NULL,
  height      int8  NOT NULL,
  PRIMARY KEY (part, nullifier)
);

CREATE TABLE @.sequences (
  sequence    int8 PRIMARY KEY,
  entry_index int8 NOT NULL,
  height      int8 NOT NULL
);

CREATE TABLE @.tiles (
  level  int4  NOT NULL,
  tile   int8  NOT NULL,
  root   bytea NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, tile)
);

CREATE TABLE @.newest (
  kind   text  NOT NULL,
  part   int4  NOT NULL,
  number int8  NOT NULL,
  bytes  bytea NOT NULL,
  PRIMARY KEY (kind, part)
);

CREATE TABLE @.lease (
  id      int4 PRIMARY KEY CHECK (id = 1),
  changes int8 NOT NULL CHECK (changes > 0),
  holder  text NOT NULL,
  url     text NOT NULL,
  millis  int8 NOT NULL CHECK (millis >= 0),
  epoch   int8 NOT NULL CHECK (epoch >= 0)
);
