package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func sample() *Chart {
	return &Chart{
		Title: "Latency against throughput", Subtitle: "open loop, <everything on> & a witness", X: Axis{Label: "durable transfers a second"},
		Y: Axis{Label: "milliseconds", Log: true}, Marks: []Mark{{At: 500, Label: "goal"}, {At: 4800, Label: "peak in a closed loop", Across: true}},
		Series: []Series{
			{Name: "final p99", Points: []Point{{480, 61}, {2400, 75}, {4300, 310}, {4790, 2150}}},
			{Name: "durable p99", Points: []Point{{480, 32}, {2400, 41}, {4300, 180}, {4790, 2010}}, Dashed: true},
			{Name: "final p50", Points: []Point{{480, 31}, {2400, 45}, {4300, 120}, {4790, 900}}},
		},
	}
}

type label struct{ x, y, wide float64 }

// labels reads a picture back, and requires that it is XML.
func labels(t *testing.T, svg []byte) (out []label) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	var open *label
	var anchor string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			open = nil
			if e.Name.Local != "text" {
				continue
			}
			l := label{}
			for _, a := range e.Attr {
				v, _ := strconv.ParseFloat(a.Value, 64)
				switch a.Name.Local {
				case "x":
					l.x = v
				case "y":
					l.y = v
				case "text-anchor":
					anchor = a.Value
				}
			}
			if l.x != 0 { // the label of Y is turned and stands alone
				open = &l
			}
		case xml.CharData:
			if open == nil {
				continue
			}
			open.wide = charWidth * float64(len(e))
			switch anchor {
			case "middle":
				open.x -= open.wide / 2
			case "end":
				open.x -= open.wide
			}
			out = append(out, *open)
			open = nil
		}
	}
}

func TestNoTextCoversAnother(t *testing.T) {
	high := sample() // a mark at the upper end of the axis
	high.Marks[0].At, high.Y = 5000, Axis{Label: "milliseconds", Log: true}
	for name, c := range map[string]*Chart{"sample": sample(), "high": high} {
		t.Run(name, func(t *testing.T) { noCover(t, c) })
	}
}

func noCover(t *testing.T, c *Chart) {
	t.Helper()
	svg, err := c.SVG()
	if err != nil {
		t.Fatal(err)
	}
	all := labels(t, svg)
	if len(all) < 15 {
		t.Fatalf("%d texts", len(all))
	}
	for i, a := range all {
		if a.x < 0 || a.x+a.wide > width || a.y < 12 || a.y > height {
			t.Errorf("%+v is outside the picture", a)
		}
		for _, b := range all[i+1:] {
			if math.Abs(a.y-b.y) < 11 && a.x < b.x+b.wide && b.x < a.x+a.wide {
				t.Errorf("%+v covers %+v", a, b)
			}
		}
	}
}

func TestTheSameFiguresGiveTheSameBytes(t *testing.T) {
	a, err := sample().SVG()
	if err != nil {
		t.Fatal(err)
	}
	b, err := sample().SVG()
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("two pictures of the same: %v", err)
	}
	other := sample()
	other.Series[0].Points[0].Y++
	if c, err := other.SVG(); err != nil || bytes.Equal(a, c) {
		t.Errorf("another figure gives the same picture: %v", err)
	}
	if path := os.Getenv("PLOT_OUT"); path != "" { // to look at it
		if err := os.WriteFile(path, a, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Chart){
		"no point":           func(c *Chart) { c.Series = nil },
		"zero on a log axis": func(c *Chart) { c.Series[0].Points[0].Y = 0 },
		"not a number":       func(c *Chart) { c.Series[0].Points[0].X = math.NaN() },
		"infinite":           func(c *Chart) { c.Series[0].Points[0].X = math.Inf(1) },
	} {
		c := sample()
		change(c)
		if _, err := c.SVG(); err == nil {
			t.Errorf("%s was drawn", name)
		}
	}
}

func TestTicksAreRoundAndCoverTheValues(t *testing.T) {
	for _, c := range []struct {
		axis   Axis
		values []float64
		want   []float64
	}{
		{Axis{}, []float64{480, 4790}, []float64{0, 1000, 2000, 3000, 4000, 5000, 6000}},
		{Axis{}, []float64{0.2, 0.9}, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{Axis{Log: true}, []float64{31, 2150}, []float64{20, 50, 100, 200, 500, 1000, 2000, 5000}},
		{Axis{Log: true}, []float64{1e6, 5e7}, []float64{1e6, 2e6, 5e6, 1e7, 2e7, 5e7}},
		{Axis{Log: true}, []float64{7, 7}, []float64{5, 10}},
		{Axis{}, []float64{0, 0}, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
	} {
		s, err := c.axis.scale(c.values, 6)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(s.ticks, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, b) }) {
			t.Errorf("%v: %v, want %v", c.values, s.ticks, c.want)
		}
		for _, v := range c.values {
			if share := s.share(v); share < -1e-9 || share > 1+1e-9 {
				t.Errorf("%v lies at %v of the axis", v, share)
			}
		}
	}
}

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 5: "5", 2500: "2,500", 120000: "120,000", 0.5: "0.5", 2.5: "2.5", 1e6: "1 M", 5e7: "50 M", 0.30000000000000004: "0.3"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if strings.Contains(n(-0.01), "-") {
		t.Error("minus zero")
	}
}
