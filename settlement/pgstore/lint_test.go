package pgstore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sqlRule is a rule of SPEC.md about SQL texts.
type sqlRule struct {
	name  string // its number in SPEC.md
	wrong func(text string) bool
	// A text that breaks this rule and no other.
	planted string
}

func has(pattern string) func(string) bool {
	re := regexp.MustCompile(`(?is)` + pattern)
	return func(text string) bool { return re.MatchString(text) }
}

var (
	isDDL    = has(`^\s*(create|alter|drop)\b`)
	isDML    = has(`\b(insert|update|delete)\b`)
	selects  = has(`^\s*select\b`)
	oneRow   = has(`where (id = 1|height = \$1|sequence = \$1|level = \$1 and tile = \$2|kind = \$1 and part = 0)( for update)?\s*$|count\(\*\)|version\(\)`)
	typeName = regexp.MustCompile(`(?i)\b(smallint|integer|int2|bigint|numeric|decimal|real|float\w*|varchar\S*|char\S*|json|jsonb|uuid|timestamp\S*|timestamptz|date|boolean|bool|xml|inet|citext|hstore|money)\b`)
)

var sqlRules = []sqlRule{
	{"P1", has(`advisory`), `SELECT count(*), pg_advisory_lock(1) FROM @.head WHERE id = 1`},
	{"P1", has(`\b(listen|unlisten|notify)\b`), `LISTEN blocks`},
	{"P1", has(`\b(serial|bigserial|smallserial|sequence\s+\w+\s+(start|increment)|nextval|currval|setval|identity)\b|create sequence`), `CREATE TABLE @.x (a bigserial PRIMARY KEY)`},
	{"P1", has(`\btrigger\b|\bcreate\s+rule\b`), `CREATE TRIGGER t ON @.head EXECUTE x`},
	{"P1", has(`\b(temp|temporary|unlogged)\b`), `CREATE UNLOGGED TABLE @.x (a int8 PRIMARY KEY)`},
	{"P1", has(`\b(function|procedure|language|do\s+\$)`), `CREATE FUNCTION @.f () RETURNS int8 LANGUAGE x`},
	{"P1", has(`\bextension\b`), `CREATE EXTENSION pgcrypto`},
	{"P1", has(`\b(vacuum|cluster|analyze|reindex|concurrently|tablespace|partition\s+by|inherits|storage|fillfactor|exclude)\b`), `CREATE TABLE @.x (a int8 PRIMARY KEY) PARTITION BY RANGE (a)`},
	{"P1", has(`\b(ctid|xmin|xmax|oid|tableoid)\b`), `SELECT xmin FROM @.head WHERE id = 1`},
	{"P1", has(`\b(savepoint|declare|fetch|cursor|copy|lock\s+table|prepare\s+transaction)\b`), `LOCK TABLE @.head`},
	{"P1", has(`\breferences\b|\bforeign\s+key\b`), `CREATE TABLE @.x (a int8 PRIMARY KEY REFERENCES @.head)`},
	{"P2", has(`\b(now|clock_timestamp|current_timestamp|random|gen_random_\w+|transaction_timestamp|statement_timestamp)\b`), `SELECT now() FROM @.head WHERE id = 1`},
	{"P3", func(text string) bool { return isDDL(text) && isDML(text) }, `CREATE TABLE @.x (a int8 PRIMARY KEY) AS INSERT INTO @.y (a) VALUES ($1) RETURNING a`},
	{"P4", func(text string) bool {
		return has(`^\s*create\s+table`)(text) && !has(`primary\s+key`)(text)
	}, `CREATE TABLE @.x (a int8)`},
	{"P5", func(text string) bool { return isDDL(text) && typeName.MatchString(text) }, `CREATE TABLE @.x (a timestamptz PRIMARY KEY)`},
	{"P6", func(text string) bool {
		bare := regexp.MustCompile(`(?is)\b(from|into|update|table|on|exists)\s+([a-z_]+)(\s|\(|$)`)
		for _, m := range bare.FindAllStringSubmatch(text, -1) {
			switch strings.ToLower(m[2]) {
			case "unnest", "if", "not", "select", "schema", "set", "conflict":
			default:
				return true
			}
		}
		return false
	}, `SELECT root FROM head WHERE id = 1`},
	{"P7", has(`select\s+\*|,\s*\*`), `SELECT * FROM @.head WHERE id = 1`},
	{"P8", func(text string) bool { return has(`^\s*(update|delete)\b`)(text) && !has(`\bwhere\b`)(text) }, `DELETE FROM @.head`},
	{"P9", func(text string) bool { return selects(text) && !oneRow(text) && !has(`order by|= any \(`)(text) }, `SELECT root FROM @.tiles WHERE level = $1`},
	{"P10", has(`insert\s+into\s+@\.\w+\s+(values|select)`), `INSERT INTO @.head VALUES ($1)`},
	{"P11", has(`on\s+conflict|\bmerge\b|\breturning\s+\*`), `INSERT INTO @.head (id) VALUES ($1) ON CONFLICT DO NOTHING`},
	{"P12", has(`'[^']*\$\d|\|\||format\(`), `SELECT root || root FROM @.head WHERE id = 1`},
}

func brokenRules(text string) []string {
	var names []string
	for _, r := range sqlRules {
		if r.wrong(text) {
			names = append(names, r.name)
		}
	}
	return names
}

// allTexts are the statements of the package.
func allTexts() map[string]string {
	all := make(map[string]string)
	v := reflect.ValueOf(source)
	for i := range v.NumField() {
		all[v.Type().Field(i).Name] = v.Field(i).String()
	}
	for _, m := range migrations {
		for i, statement := range m.statements {
			all["migration "+strconv.Itoa(int(m.version))+"."+strconv.Itoa(i)] = statement
		}
	}
	return all
}

func TestEverySQLTextKeepsToTheRules(t *testing.T) {
	texts := allTexts()
	for name, text := range texts {
		if text == "" {
			t.Errorf("%s is empty", name)
		}
		for _, rule := range brokenRules(text) {
			t.Errorf("%s breaks %s: %s", name, rule, text)
		}
	}
	if len(texts) < 40 {
		t.Fatalf("only %d texts were read", len(texts))
	}
	for _, m := range migrations {
		if len(m.statements) == 0 {
			t.Errorf("migration %d has no statement", m.version)
		}
	}
}

func TestEverySQLRuleBites(t *testing.T) {
	for i, r := range sqlRules {
		if broken := brokenRules(r.planted); len(broken) != 1 || broken[0] != r.name {
			t.Errorf("rule %d, %s: the planted text breaks %v: %s", i, r.name, broken, r.planted)
		}
	}
}

// TestNoSQLStandsElsewhere: a statement outside sql.go and the migrations would
// escape the rules.
func TestNoSQLStandsElsewhere(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	looksLike := regexp.MustCompile(`(?i)^\s*(select|insert into|update|delete from|create|alter|drop|set|show|begin|commit|with|truncate|lock|copy|call|do)\s+["@\w]`)
	read := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "sql.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		read++
		ast.Inspect(tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && looksLike.MatchString(text) && !notSQL[text] {
					t.Errorf("%s: %q", file, text)
				}
			}
			return true
		})
	}
	if read < 6 {
		t.Fatalf("only %d files were read", read)
	}
	if !looksLike.MatchString(source.Claim) || !looksLike.MatchString("SHOW fsync") {
		t.Fatal("the pattern finds nothing")
	}
}

// notSQL are words for people that begin like a statement.
var notSQL = map[string]bool{"create ledger in ": true}

// TestRulesStandInTheSpec: every rule number is written down, and none is named
// that is not.
func TestRulesStandInTheSpec(t *testing.T) {
	text, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range sqlRules {
		if !strings.Contains(string(text), "**"+r.name+"**") {
			t.Errorf("%s is not in SPEC.md", r.name)
		}
	}
}
