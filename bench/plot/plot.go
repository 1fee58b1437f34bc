// Package plot draws line charts as SVG: axes with units, readable on light and dark paper, the same bytes for the same figures.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Chart is a picture of some series over one pair of axes.
type Chart struct {
	Title, Subtitle string
	X, Y            Axis
	Series          []Series
	Marks           []Mark
}

// Axis says what is measured along it, with the unit, and how. Without Min and Max it covers the points and, if it is linear, zero.
type Axis struct {
	Label    string
	Log      bool // powers of ten are as far apart as each other; points must be positive
	Min, Max float64
	Ticks    []float64 // nil chooses round numbers
}

// Series is a line through points, in their order.
type Series struct {
	Name   string
	Points []Point
	Dashed bool
}

// Point is one figure.
type Point struct{ X, Y float64 }

// Mark is a level along Y, such as a goal, or where Across is set along X.
type Mark struct {
	At     float64
	Label  string
	Across bool
}

// The picture, in pixels.
const (
	width, height                = 760.0, 440.0
	left, right                  = 78.0, 24.0
	bottom                       = 58.0
	lineHeight                   = 18.0
	charWidth, titleWidth        = 6.6, 9.0 // about, of the font at 12 and 16 pixels
	plotWidth                    = width - left - right
	markerRadius                 = 3.5
	legendMarker, legendDistance = 26.0, 22.0
)

// style serves both papers: colours of lines are seen on either, ink follows the reader's.
const style = `text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#3d4450}
.title{font-size:16px;font-weight:600;fill:#1b1f24}
.grid{stroke:#d5dae1;stroke-width:1}
.axis{stroke:#6b7280;stroke-width:1}
.mark{stroke:#6b7280;stroke-width:1.5;stroke-dasharray:2 4}
.paper{fill:#ffffff}
.s0{stroke:#2f74d0;fill:#2f74d0}.s1{stroke:#d9692b;fill:#d9692b}.s2{stroke:#2c9c68;fill:#2c9c68}
.s3{stroke:#9560d6;fill:#9560d6}.s4{stroke:#b8860b;fill:#b8860b}.s5{stroke:#c9418a;fill:#c9418a}
.line{fill:none;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#c3cad5}.title{fill:#f0f3f6}.grid{stroke:#343b45}.axis,.mark{stroke:#8b949e}.paper{fill:#0d1117}}
`

const palette = 6

// SVG draws the chart. It fails when there is nothing to draw, or a point that no axis can hold.
func (c *Chart) SVG() ([]byte, error) {
	x, y, err := c.axes()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	legend := c.legend()
	top := 50.0 + lineHeight*float64(len(legend))
	if c.Subtitle != "" {
		top += lineHeight
	}
	px := func(v float64) float64 { return left + plotWidth*x.share(v) }
	py := func(v float64) float64 { return height - bottom - (height-bottom-top)*y.share(v) }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`+"\n", n(width), n(height), n(width), n(height), escape(c.Title))
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"paper\" width=\"%s\" height=\"%s\"/>\n", style, n(width), n(height))
	text(&b, "title", "start", left, 28, c.Title)
	line := 28 + lineHeight
	if c.Subtitle != "" {
		text(&b, "", "start", left, line, c.Subtitle)
		line += lineHeight
	}
	for _, row := range legend {
		for _, item := range row {
			c.stroke(&b, item.series, fmt.Sprintf("M%s %sh%s", n(item.x), n(line+4), n(legendMarker-6)))
			marker(&b, item.series, item.x+(legendMarker-6)/2, line+4)
			text(&b, "", "start", item.x+legendMarker, line+8, c.Series[item.series].Name)
		}
		line += lineHeight
	}
	for _, v := range x.ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%s %sV%s"/>`+"\n", n(px(v)), n(top), n(height-bottom))
		text(&b, "", "middle", px(v), height-bottom+18, number(v))
	}
	for _, v := range y.ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%s %sH%s"/>`+"\n", n(left), n(py(v)), n(width-right))
		text(&b, "", "end", left-8, py(v)+4, number(v))
	}
	fmt.Fprintf(&b, `<path class="axis" fill="none" d="M%s %sV%sH%s"/>`+"\n", n(left), n(top), n(height-bottom), n(width-right))
	text(&b, "", "middle", left+plotWidth/2, height-14, c.X.Label)
	fmt.Fprintf(&b, `<text transform="translate(18 %s) rotate(-90)" text-anchor="middle">%s</text>`+"\n", n((top+height-bottom)/2), escape(c.Y.Label))
	for _, m := range c.Marks {
		if m.Across {
			fmt.Fprintf(&b, `<path class="mark" d="M%s %sV%s"/>`+"\n", n(px(m.At)), n(top), n(height-bottom))
			anchor, at := "start", px(m.At)+5
			if at+charWidth*float64(len(m.Label)) > width-right {
				anchor, at = "end", px(m.At)-5
			}
			text(&b, "", anchor, at, top+12, m.Label)
			continue
		}
		fmt.Fprintf(&b, `<path class="mark" d="M%s %sH%s"/>`+"\n", n(left), n(py(m.At)), n(width-right))
		at := py(m.At) - 5
		if at < top+12 { // above it are the names of the series
			at = py(m.At) + 14
		}
		text(&b, "", "start", left+6, at, m.Label)
	}
	for i, s := range c.Series {
		var d strings.Builder
		for k, p := range s.Points {
			command := "L"
			if k == 0 {
				command = "M"
			}
			fmt.Fprintf(&d, "%s%s %s", command, n(px(p.X)), n(py(p.Y)))
		}
		c.stroke(&b, i, d.String())
		for _, p := range s.Points {
			marker(&b, i, px(p.X), py(p.Y))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

func (c *Chart) stroke(b *bytes.Buffer, series int, d string) {
	dash := ""
	if c.Series[series].Dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	fmt.Fprintf(b, `<path class="s%d line"%s d="%s"/>`+"\n", series%palette, dash, d)
}

// marker draws a point; its shape tells the series apart where colours do not.
func marker(b *bytes.Buffer, series int, x, y float64) {
	const r = markerRadius
	switch series % 4 {
	case 0:
		fmt.Fprintf(b, `<circle class="s%d" cx="%s" cy="%s" r="%s"/>`+"\n", series%palette, n(x), n(y), n(r))
	case 1:
		fmt.Fprintf(b, `<rect class="s%d" x="%s" y="%s" width="%s" height="%s"/>`+"\n", series%palette, n(x-r), n(y-r), n(2*r), n(2*r))
	case 2:
		fmt.Fprintf(b, `<path class="s%d" d="M%s %sl%s %sh%sz"/>`+"\n", series%palette, n(x), n(y-r-1), n(r+1), n(2*r), n(-2*r-2))
	default:
		fmt.Fprintf(b, `<path class="s%d" d="M%s %sl%s %sl%s %sl%s %sz"/>`+"\n", series%palette, n(x), n(y-r-1), n(r+1), n(r+1), n(-r-1), n(r+1), n(-r-1), n(-r-1))
	}
}

type legendItem struct {
	series int
	x      float64
}

// legend puts the names of the series into as many rows as they need.
func (c *Chart) legend() (rows [][]legendItem) {
	at := left
	for i, s := range c.Series {
		wide := legendMarker + charWidth*float64(len(s.Name)) + legendDistance
		if len(rows) == 0 || at+wide-legendDistance > width-right {
			rows, at = append(rows, nil), left
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], legendItem{i, at})
		at += wide
	}
	return rows
}

// scale is an axis that was made up its mind about.
type scale struct {
	min, max float64
	log      bool
	ticks    []float64
}

func (s *scale) share(v float64) float64 {
	if s.log {
		return (math.Log(v) - math.Log(s.min)) / (math.Log(s.max) - math.Log(s.min))
	}
	return (v - s.min) / (s.max - s.min)
}

func (c *Chart) axes() (x, y *scale, err error) {
	var xs, ys []float64
	for _, s := range c.Series {
		for _, p := range s.Points {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	if len(xs) == 0 {
		return nil, nil, fmt.Errorf("plot %q: no point", c.Title)
	}
	for _, m := range c.Marks {
		if m.Across {
			xs = append(xs, m.At)
		} else {
			ys = append(ys, m.At)
		}
	}
	if x, err = c.X.scale(xs, 8); err == nil {
		y, err = c.Y.scale(ys, 6)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("plot %q: %w", c.Title, err)
	}
	return x, y, nil
}

func (a *Axis) scale(values []float64, about int) (*scale, error) {
	s := &scale{min: a.Min, max: a.Max, log: a.Log}
	if a.Min == 0 && a.Max == 0 {
		s.min, s.max = values[0], values[0]
		for _, v := range values {
			s.min, s.max = min(s.min, v), max(s.max, v)
		}
		if !a.Log {
			s.min, s.max = min(s.min, 0), s.max*1.05
		}
	}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) || a.Log && v <= 0 {
			return nil, fmt.Errorf("%v cannot be on the axis %q", v, a.Label)
		}
	}
	if a.Log {
		s.min, s.max, s.ticks = logTicks(s.min, s.max)
	} else {
		if s.max <= s.min {
			s.max = s.min + 1
		}
		step := round((s.max - s.min) / float64(about))
		s.min, s.max = math.Floor(s.min/step)*step, math.Ceil(s.max/step)*step
		for k := 0.0; s.min+k*step <= s.max+step/2; k++ {
			s.ticks = append(s.ticks, s.min+k*step)
		}
	}
	if a.Ticks != nil {
		s.ticks = a.Ticks
	}
	return s, nil
}

// round gives the next of 1, 2, 5, 10, 20, ... from v up.
func round(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= v*0.999 {
			return m * power
		}
	}
	return 10 * power
}

// logTicks gives 1, 2 and 5 of every power of ten from below least to above most.
func logTicks(least, most float64) (from, to float64, ticks []float64) {
	for e := math.Floor(math.Log10(least)); ; e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if v <= least*1.0001 {
				ticks = ticks[:0] // the last one below is the first
			}
			ticks = append(ticks, v)
			if v >= most*0.9999 && len(ticks) > 1 {
				return ticks[0], v, ticks
			}
		}
	}
}

// number writes a tick: 2,500 or 0.5 or 10 M.
func number(v float64) string {
	if math.Abs(v) >= 1e6 {
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + " M"
	}
	var text string
	switch {
	case math.Abs(v) < 1:
		text = strconv.FormatFloat(v, 'g', 3, 64)
	case math.Abs(v-math.Round(v)) > 1e-9:
		text = strconv.FormatFloat(v, 'f', 1, 64)
	default:
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if len(text) > 3 && !strings.Contains(text, ".") {
		text = text[:len(text)-3] + "," + text[len(text)-3:]
	}
	return text
}

// n writes a coordinate, to a tenth of a pixel.
func n(v float64) string {
	text := strconv.FormatFloat(math.Round(v*10)/10, 'f', 1, 64)
	text = strings.TrimSuffix(text, ".0")
	if text == "-0" {
		return "0"
	}
	return text
}

func text(b *bytes.Buffer, class, anchor string, x, y float64, s string) {
	if class != "" {
		class = fmt.Sprintf(` class="%s"`, class)
	}
	fmt.Fprintf(b, `<text%s x="%s" y="%s" text-anchor="%s">%s</text>`+"\n", class, n(x), n(y), anchor, escape(s))
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer does not fail
	return b.String()
}
