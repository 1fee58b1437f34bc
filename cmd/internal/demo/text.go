package demo

import (
	"fmt"
	"slices"
	"strings"
)

// The terminal of the story, in columns.
const (
	columns = 80
	indent  = 17
)

// longest is how much of one word is shown: hashes and addresses are cut in the middle, --json has them whole.
const longest = 40

// wrap breaks words into lines of so many columns. The indentation of a line goes on in those that follow it.
func wrap(text string, width int) (lines []string) {
	for paragraph := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if paragraph == "" {
			continue
		}
		if len([]rune(paragraph)) <= width && !slices.ContainsFunc(strings.Fields(paragraph), func(w string) bool { return w != shorten(w) }) {
			lines = append(lines, paragraph) // as it is set
			continue
		}
		before := paragraph[:len(paragraph)-len(strings.TrimLeft(paragraph, " "))]
		line := before
		for word := range strings.FieldsSeq(paragraph) {
			word = shorten(word)
			if len([]rune(line))+1+len([]rune(word)) > width && line != before {
				lines, line = append(lines, line), before
			}
			if line != before {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}

// shorten cuts the middle out of a long word.
func shorten(word string) string {
	if r := []rune(word); len(r) > longest {
		return string(r[:12]) + "…" + string(r[len(r)-8:])
	}
	return word
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
