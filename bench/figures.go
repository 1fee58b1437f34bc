package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func processors() int { return runtime.NumCPU() }

// median takes at least one figure.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

func medianOf(all []*measured, of func(*measured) float64) float64 {
	var v []float64
	for _, m := range all {
		v = append(v, of(m))
	}
	return median(v)
}

// most is the most memory that the node held in some spans.
func most(all []*measured) (bytes int64) {
	for _, m := range all {
		bytes = max(bytes, m.Peak)
	}
	return bytes
}

// The ways in which figures are written: 3,214; 0.98; 12.3 us; 45.6 ms; 267 MB.

func figure(v float64) string { return count(int(math.Round(v))) }

func count(n int) string {
	text := strconv.Itoa(n)
	var parts []string
	for len(text) > 3 {
		parts, text = append(parts, text[len(text)-3:]), text[:len(text)-3]
	}
	slices.Reverse(parts)
	return strings.Join(append([]string{text}, parts...), ",")
}

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func micros(d time.Duration) string { return fmt.Sprintf("%.1f us", float64(d.Nanoseconds())/1000) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Nanoseconds())/1e6) }

func mega(bytes int64) string { return count(int(bytes>>20)) + " MB" }

func ascending(d []time.Duration) []time.Duration { return slices.Sorted(slices.Values(d)) }
