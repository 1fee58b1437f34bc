package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandsOfRunbooksExist: somebody who was woken up must not have to guess. Every command in a code block of a runbook exists with all
// its flags.
func TestCommandsOfRunbooksExist(t *testing.T) {
	files, err := filepath.Glob("../../deploy/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "comity" {
				continue
			}
			found++
			cmd, rest, err := root().Find(words[1:])
			if err != nil || !cmd.Runnable() {
				t.Errorf("%s: %q: %v", filepath.Base(file), line, err)
				continue
			}
			for _, word := range rest {
				name, ok := strings.CutPrefix(word, "--")
				if !ok {
					continue
				}
				name, _, _ = strings.Cut(name, "=")
				if cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: %q: no flag --%s", filepath.Base(file), line, name)
				}
			}
		}
	}
	if found < 15 {
		t.Fatalf("only %d commands were found", found)
	}
}
