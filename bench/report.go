package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/comity-ledger/comity/bench/plot"
)

// report is everything that a run found.
type report struct {
	machine, command string
	began            time.Time
	quick            bool
	goals            []goal
	notes            []string
	short            []string // what fell short besides goals
	parts            []*part
	memories         []memory
	times            []string
	plots            []picture
}

// goal is one of issue 4's and DESIGN's, and what was measured.
type goal struct {
	want, got string
	met       bool
}

// memory is the most that a node held, with how many nullifiers were seeded before.
type memory struct {
	what       string
	bytes      int64
	nullifiers int
}

type picture struct {
	file  string
	bytes []byte
}

// part is a section of the text.
type part struct {
	title string
	text  bytes.Buffer
}

func newReport(machine, command string, quick bool) *report {
	return &report{machine: machine, command: command, began: time.Now().UTC(), quick: quick}
}

// section begins a part of the text with the question that it answers.
func (r *report) section(title, question string) *part {
	p := &part{title: title}
	fmt.Fprintf(&p.text, "%s\n", question)
	r.parts = append(r.parts, p)
	return p
}

func (r *report) goal(want, got string, met bool) {
	r.goals = append(r.goals, goal{want, got, met})
}
func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}
func (r *report) memory(what string, bytes int64, nullifiers int) {
	r.memories = append(r.memories, memory{what, bytes, nullifiers})
}
func (r *report) failed(section string, err error) {
	r.short = append(r.short, fmt.Sprintf("The section %s ended early: %v", section, err))
}
func (r *report) lacks(format string, args ...any) {
	r.short = append(r.short, fmt.Sprintf(format, args...))
}

// memoryGoal compares what every part held with its bound.
func (r *report) memoryGoal() {
	if len(r.memories) == 0 {
		return
	}
	worst := r.memories[0]
	for _, m := range r.memories {
		if m.bytes*worst.bound() > worst.bytes*m.bound() {
			worst = m
		}
	}
	r.goal("memory stays below what the limits add up to", fmt.Sprintf("%s of %s at worst (%s)", mega(worst.bytes), mega(worst.bound()), worst.what), worst.bytes <= worst.bound())
}

func (r *report) took(section string, d time.Duration) {
	r.times = append(r.times, fmt.Sprintf("%s %v", section, d.Round(time.Second)))
}

// plot draws a chart and puts it into the text.
func (r *report) plot(p *part, file string, c *plot.Chart) error {
	svg, err := c.SVG()
	if err != nil {
		return err
	}
	r.plots = append(r.plots, picture{file, svg})
	fmt.Fprintf(&p.text, "\n![%s](%s)\n", c.Title, file)
	return nil
}

func (p *part) say(format string, args ...any) { fmt.Fprintf(&p.text, "\n"+format+"\n", args...) }

type table struct{ p *part }

// table begins a table under a sentence.
func (p *part) table(title string, columns ...string) *table {
	fmt.Fprintf(&p.text, "\n%s:\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	return &table{p}
}

func (t *table) row(cells ...string) {
	fmt.Fprintf(&t.p.text, "| %s |\n", strings.Join(cells, " | "))
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "# Speed, %s\n\n", r.began.Format("2006-01-02"))
	fmt.Fprintf(w, "Question: does a ledger reach the goals of DESIGN section 10 on this machine, and what holds it back?\n\n")
	fmt.Fprintf(w, "- machine: %s (one minute, before the run)\n- command: `%s`\n- begun: %s; %s\n", r.machine, r.command, r.began.Format("15:04 UTC"), strings.Join(r.times, ", "))
	fmt.Fprint(w, `- what runs: the comity program in a process of its own, as an operator runs it: Pebble on disk with a sync for every block, one consistency
  witness that syncs before it cosigns. "Everything on" adds mutual TLS 1.3 with a certificate for each caller, and telemetry: metrics
  read every 5 s and sent to a collector, the log sent too, one trace in a hundred kept
- driver: eight banks on loopback, in one process with the witness and the collector; it shares the processors with the node, what it uses is stated apart
- a transfer has two inputs and two outputs, a disbursement 64 payees. All proofs are verified. One in some hundreds is of real notes and took a second; the others
  are simulated from the development trapdoor, and the node does the same work for them
`)
	if r.quick {
		fmt.Fprint(w, "- **a quick run at small sizes: its figures show that everything runs, and nothing about speed**\n")
	}
	r.printGoals(w)
	for _, note := range r.notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	fmt.Fprint(w, "\n## What fell short\n\n")
	none := true
	for _, g := range r.goals {
		if !g.met {
			fmt.Fprintf(w, "- %s: measured %s.\n", g.want, g.got)
			none = false
		}
	}
	for _, s := range r.short {
		fmt.Fprintf(w, "- %s\n", s)
		none = false
	}
	if none {
		fmt.Fprint(w, "Nothing that this run measured.\n")
	}
	for _, p := range r.parts {
		fmt.Fprintf(w, "\n## %s\n\n%s", p.title, p.text.String())
	}
	r.printMemory(w)
}

func (r *report) printGoals(w io.Writer) {
	if len(r.goals) == 0 {
		return
	}
	fmt.Fprint(w, "\n| goal | measured | |\n|---|---|---|\n")
	for _, g := range r.goals {
		met := "met"
		if !g.met {
			met = "**not met**"
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", g.want, g.got, met)
	}
}

// The marks between which a document quotes the goals.
const quoteBegin, quoteEnd = "<!-- go run ./bench -readme -->", "<!-- end -->"

// quote replaces what stands between the marks of a document.
func (r *report) quote(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), quoteBegin)
	_, after, closed := strings.Cut(rest, quoteEnd)
	if !found || !closed {
		return fmt.Errorf("%s has no marks %s and %s", path, quoteBegin, quoteEnd)
	}
	var goals bytes.Buffer
	fmt.Fprintf(&goals, "\nMeasured %s on %s.\n", r.began.Format("2006-01-02"), r.machine)
	r.printGoals(&goals)
	return os.WriteFile(path, []byte(before+quoteBegin+goals.String()+quoteEnd+after), 0o644)
}

// What bounds the node's memory by its limits, bytes: what may wait and be read (node.Limits, rpc.Limits), and the store's cache and tables
// in memory (pebblestore.Config). What the Go runtime collects may double before it is collected.
const (
	boundWaiting = 256 << 20
	boundBodies  = 256 << 20
	boundStore   = 64<<20 + 4*64<<20
	boundProgram = 150 << 20 // the program, its verifying keys and tables
	boundEach    = 12        // for each nullifier
)

const boundAll = 2*(boundWaiting+boundBodies+boundProgram) + boundStore

func (m memory) bound() int64 { return boundAll + 2*boundEach*int64(m.nullifiers) }

func (r *report) printMemory(w io.Writer) {
	if len(r.memories) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## Memory\n\nMost memory of the node's process in each part, and what the limits add up to:\n\n| part | at most | bound | share |\n|---|---|---|---|\n")
	for _, m := range r.memories {
		fmt.Fprintf(w, "| %s | %s | %s | %.0f %% |\n", m.what, mega(m.bytes), mega(m.bound()), 100*float64(m.bytes)/float64(m.bound()))
	}
	fmt.Fprintf(w, "\nThe bound: entries that wait %s (and 8,192 of them), request bodies %s, the program with its keys %s, %d bytes for each nullifier (settlement/nullset), all of it doubled\n"+
		"because the Go runtime collects when what it holds has doubled, and the store's cache and memory tables %s.\n",
		mega(boundWaiting), mega(boundBodies), mega(boundProgram), boundEach, mega(boundStore))
}

// write replaces speed.md and the plots in a folder.
func (r *report) write(dir string) error {
	var text bytes.Buffer
	r.print(&text)
	err := os.MkdirAll(dir, 0o755)
	for _, p := range append([]picture{{"speed.md", text.Bytes()}}, r.plots...) {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.file), p.bytes, 0o644))
	}
	return err
}
