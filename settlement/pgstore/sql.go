package pgstore

import (
	"reflect"
	"strings"
)

// texts is every SQL text of the package besides the migrations. "@." stands
// for the schema. SPEC.md has the rules that they keep to, and a test reads
// them all.
type texts struct {
	// Finding out what is there.
	Server, SchemaExists, Tables, CreateSchema string
	CreateLayout, Layout, AddLayout            string
	Ledger, AddLedger, AddHead, Discard        string

	// Head.
	Head, HeadLocked, Claim, Acquire, NoTimeout string

	// Writing a block.
	AddBlock, AddEntries, AddSegments, AddCommitments, AddNullifiers, AddSequences, AddTiles string

	// Reading.
	Block, BlockEntries, BlockSegments, BlockCommitments, Entry, Anchor, Sequence string
	SpentIn, SpentSince, Tile, TileRoots, Tails                                   string

	// Checkpoint and snapshot.
	Newest, NewestNumber, DropNewest, AddNewest string

	// The lease.
	Lease, AddLease, ChangeLease string
}

var source = texts{
	Server: `SELECT version(), coalesce(current_setting('synchronous_commit', true), ''), coalesce(current_setting('fsync', true), ''),
		coalesce(current_setting('full_page_writes', true), '')`,
	SchemaExists: `SELECT count(*) FROM information_schema.schemata WHERE schema_name = $1`,
	Tables:       `SELECT table_name FROM information_schema.tables WHERE table_schema = $1 ORDER BY table_name`,
	CreateSchema: `CREATE SCHEMA IF NOT EXISTS @`,
	CreateLayout: `CREATE TABLE @.layout (version int4 PRIMARY KEY, checksum bytea NOT NULL)`,
	Layout:       `SELECT version, checksum FROM @.layout ORDER BY version`,
	AddLayout:    `INSERT INTO @.layout (version, checksum) VALUES ($1, $2)`,
	Ledger:       `SELECT genesis FROM @.ledger WHERE id = 1`,
	AddLedger:    `INSERT INTO @.ledger (id, genesis) VALUES (1, $1)`,
	AddHead:      `INSERT INTO @.head (id, epoch, height, log_size, root, part, in_part, spent) VALUES (1, 0, 0, $1, $2, 0, $3, $3)`,

	// What Discard removes: all tables of the layout.
	Discard: `DROP TABLE IF EXISTS @.ledger, @.head, @.blocks, @.entries, @.segments, @.commitments, @.nullifiers, @.sequences, @.tiles, @.newest, @.lease, @.layout`,

	Head:       `SELECT epoch, height, log_size, root, part, spent FROM @.head WHERE id = 1`,
	HeadLocked: `SELECT epoch, height, log_size, root, part, spent FROM @.head WHERE id = 1 FOR UPDATE`,
	// The compare-and-set. A part of nullifiers that is full is never written
	// again: the block that finds it so begins the next.
	Claim: `UPDATE @.head SET height = $5, log_size = $6, root = $7, spent = spent + $8,
		part = CASE WHEN in_part >= $9 THEN part + 1 ELSE part END,
		in_part = CASE WHEN in_part >= $9 THEN $8 ELSE in_part + $8 END
		WHERE id = 1 AND epoch = $1 AND height = $2 AND log_size = $3 AND root = $4 RETURNING part`,
	Acquire: `UPDATE @.head SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch, height, log_size, root, part, spent`,
	// A COMMIT that waits for a synchronous standby must not be cut short by a
	// time-out of the server's: it would be answered as if it were replicated.
	NoTimeout: `SET LOCAL statement_timeout = 0`,

	AddBlock: `INSERT INTO @.blocks (height, time_millis, first_index, entries, segments, root, tree, tree_size, note_root, registry_root, readers_root,
		sequences, nullifiers, tail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
	AddEntries:     `INSERT INTO @.entries (first_index, height, bundle) VALUES ($1, $2, $3)`,
	AddSegments:    `INSERT INTO @.segments (height, part, bundle) VALUES ($1, $2, $3)`,
	AddCommitments: `INSERT INTO @.commitments (height, part, packed) VALUES ($1, $2, $3)`,
	AddNullifiers: `INSERT INTO @.nullifiers (part, nullifier, entry_index, height)
		SELECT $1, n.nullifier, n.entry_index, $2 FROM unnest($3::bytea[], $4::int8[]) AS n (nullifier, entry_index)`,
	AddSequences: `INSERT INTO @.sequences (sequence, entry_index, height)
		SELECT q.sequence, q.entry_index, $1 FROM unnest($2::int8[], $3::int8[]) AS q (sequence, entry_index)`,
	AddTiles: `INSERT INTO @.tiles (level, tile, root, hashes)
		SELECT t.level, t.tile, t.root, t.hashes FROM unnest($1::int4[], $2::int8[], $3::bytea[], $4::bytea[]) AS t (level, tile, root, hashes)`,

	Block: `SELECT time_millis, first_index, entries, segments, root, tree, tree_size, note_root, registry_root, readers_root,
		sequences, nullifiers FROM @.blocks WHERE height = $1`,
	BlockEntries: `SELECT bundle FROM @.entries WHERE first_index >= (SELECT first_index FROM @.blocks WHERE height = $1)
		AND first_index < (SELECT first_index + entries FROM @.blocks WHERE height = $1) ORDER BY first_index`,
	BlockSegments:    `SELECT bundle FROM @.segments WHERE height = $1 ORDER BY part`,
	BlockCommitments: `SELECT packed FROM @.commitments WHERE height = $1 ORDER BY part`,
	Entry:            `SELECT first_index, height, bundle FROM @.entries WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1`,
	Anchor:           `SELECT time_millis, tree, tree_size, note_root, registry_root, readers_root FROM @.blocks WHERE height = $1`,
	Sequence:         `SELECT entry_index, height FROM @.sequences WHERE sequence = $1`,

	SpentIn:    `SELECT nullifier, entry_index, height FROM @.nullifiers WHERE part = $1 AND nullifier = ANY ($2::bytea[])`,
	SpentSince: `SELECT height, root, nullifiers FROM @.blocks WHERE height >= $1 AND height <= $2 ORDER BY height LIMIT 128`,
	Tile:       `SELECT hashes FROM @.tiles WHERE level = $1 AND tile = $2`,
	TileRoots:  `SELECT root FROM @.tiles WHERE level = $1 AND tile >= $2 AND tile < $3 ORDER BY tile`,
	// Hashes behind the last full tile: of the block that reaches over its end,
	// and of those after it.
	Tails: `SELECT first_index, entries, tail FROM @.blocks
		WHERE first_index >= (SELECT first_index FROM @.blocks WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1) AND first_index < $2 ORDER BY first_index`,

	Newest:       `SELECT number, bytes FROM @.newest WHERE kind = $1 ORDER BY part`,
	NewestNumber: `SELECT number FROM @.newest WHERE kind = $1 AND part = 0 FOR UPDATE`,
	DropNewest:   `DELETE FROM @.newest WHERE kind = $1`,
	AddNewest:    `INSERT INTO @.newest (kind, part, number, bytes) VALUES ($1, $2, $3, $4)`,

	Lease:       `SELECT changes, holder, url, millis, epoch FROM @.lease WHERE id = 1`,
	AddLease:    `INSERT INTO @.lease (id, changes, holder, url, millis, epoch) VALUES (1, 1, $1, $2, $3, $4)`,
	ChangeLease: `UPDATE @.lease SET changes = changes + 1, holder = $2, url = $3, millis = $4, epoch = $5 WHERE id = 1 AND changes = $1 RETURNING changes`,
}

// in gives the texts for one schema.
func (t texts) in(schema string) *texts {
	v := reflect.ValueOf(&t).Elem()
	for i := range v.NumField() {
		v.Field(i).SetString(qualify(v.Field(i).String(), schema))
	}
	return &t
}

// qualify puts a schema into a text.
func qualify(text, schema string) string {
	return strings.ReplaceAll(text, "@", `"`+schema+`"`)
}
