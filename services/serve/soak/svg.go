// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"strings"
	"time"
)

// The picture, in pixels.
const (
	width, height = 1200, 520
	left, right   = 64, 20
	top, bottom   = 64, 96
	plotWidth     = width - left - right
	plotHeight    = height - top - bottom
	levelTop      = height - bottom + 40 // the strip with the pressure levels
	levelHeight   = 12
)

// curve is what is drawn: samples over time, and lines that they should stay below.
type curve struct {
	title   string
	samples []sample
	marks   []mark
}

// mark is a level with a name, which says how high it is.
type mark struct {
	name   string
	bytes  int64
	colour string
}

// shades are the phases' backgrounds.
var shades = map[string]string{idle: "#f2f5f7", steady: "#e4f1e6", burst: "#fff0cc", rest: "#f2f5f7", swing: "#e9e4f5", hostile: "#fbe0dc", calm: "#f2f5f7", million: "#e4f1e6", drain: "#ffffff"}

// levelColours are those of normal, warn and critical.
var levelColours = []string{"#7fb58a", "#e5a823", "#c0392b"}

// series are the lines that are drawn.
var series = []struct {
	name, colour string
	of           func(sample) int64
}{
	{"resident (RSS)", "#1f4e79", func(s sample) int64 { return s.rss }},
	{"of it anonymous", "#2e9e8f", func(s sample) int64 { return s.anonymous }},
	{"Go heap", "#9467bd", func(s sample) int64 { return s.heap }},
}

// writeSVG draws a curve into a file.
func writeSVG(path string, c curve) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.WriteString(f, c.svg())
	return err
}

// canvas gathers elements; x and y turn seconds and bytes into pixels.
type canvas struct {
	strings.Builder
	end time.Duration
	top float64 // MB
}

func (c curve) svg() string {
	v := &canvas{end: time.Second, top: 1}
	for _, s := range c.samples {
		v.end = max(v.end, s.at)
		v.top = max(v.top, float64(s.rss)/mb)
	}
	for _, m := range c.marks {
		v.top = max(v.top, float64(m.bytes)/mb)
	}
	v.top *= 1.08
	fmt.Fprintf(v, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="#333">`+"\n", width, height, width, height)
	v.WriteString("<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n")
	v.text(left, 22, "start", 16, c.title)
	v.phases(c.samples)
	v.axes()
	for i, s := range series {
		v.line(c.samples, s.of, s.colour)
		v.legend(i, s.name, s.colour)
	}
	for _, m := range c.marks {
		y := v.y(float64(m.bytes) / mb)
		fmt.Fprintf(v, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="1.5" stroke-dasharray="6 4"/>`+"\n", left, y, width-right, y, m.colour)
		v.text(width-right-4, y-4, "end", 11, m.name)
	}
	v.levels(c.samples)
	v.WriteString("</svg>\n")
	return v.String()
}

func (v *canvas) x(at time.Duration) float64 {
	return left + plotWidth*at.Seconds()/v.end.Seconds()
}

func (v *canvas) y(mb float64) float64 { return top + plotHeight*(1-mb/v.top) }

func (v *canvas) text(x, y float64, anchor string, size int, what string) {
	fmt.Fprintf(v, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(what))
}

func (v *canvas) rect(from, to time.Duration, y, h float64, colour, title string) {
	fmt.Fprintf(v, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s</title></rect>`+"\n",
		v.x(from), y, math.Max(0.5, v.x(to)-v.x(from)), h, colour, html.EscapeString(title))
}

// runs calls fn for each run of samples for which key is the same, with the time
// until the next begins.
func runs[K comparable](samples []sample, key func(sample) K, fn func(key K, from, to time.Duration)) {
	for i := 0; i < len(samples); {
		k, j := key(samples[i]), i+1
		for j < len(samples) && key(samples[j]) == k {
			j++
		}
		fn(k, samples[i].at, samples[min(j, len(samples)-1)].at)
		i = j
	}
}

// phases shades the plot, and names those that are wide enough.
func (v *canvas) phases(samples []sample) {
	runs(samples, func(s sample) string { return s.phase }, func(name string, from, to time.Duration) {
		v.rect(from, to, top, plotHeight, shades[name], name)
		if v.x(to)-v.x(from) > float64(7*len(name)) {
			v.text((v.x(from)+v.x(to))/2, top+14, "middle", 11, name)
		}
	})
}

func (v *canvas) axes() {
	for _, n := range ticks(v.top, 6) {
		fmt.Fprintf(v, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#0001"/>`+"\n", left, v.y(n), width-right, v.y(n))
		v.text(left-6, v.y(n)+4, "end", 11, fmt.Sprintf("%g", n))
	}
	unit, name := axisUnit(v.end)
	for _, n := range ticks(float64(v.end)/float64(unit), 12) {
		x := v.x(time.Duration(n * float64(unit)))
		fmt.Fprintf(v, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#333"/>`+"\n", x, height-bottom, x, height-bottom+5)
		v.text(x, height-bottom+18, "middle", 11, fmt.Sprintf("%g", n))
	}
	fmt.Fprintf(v, `<path d="M%d %dV%dH%d" fill="none" stroke="#333"/>`+"\n", left, top, height-bottom, width-right)
	v.text(width-right, height-bottom+32, "end", 11, name)
	v.text(left-6, top-8, "end", 11, "MB")
}

// axisUnit is what a time of that length is counted in.
func axisUnit(d time.Duration) (time.Duration, string) {
	switch {
	case d > 6*time.Hour:
		return time.Hour, "hours"
	case d > 6*time.Minute:
		return time.Minute, "minutes"
	}
	return time.Second, "seconds"
}

// ticks are round numbers from 0 to most, about n of them.
func ticks(most float64, n int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10(most/float64(n))))
	for _, times := range []float64{1, 2, 2.5, 2, 10} { // 1, 2, 5, 10 and 100 times the power of ten
		if step *= times; most/step <= float64(n) {
			break
		}
	}
	var out []float64
	for i := 0; float64(i)*step <= most; i++ {
		out = append(out, float64(i)*step)
	}
	return out
}

// line draws one series. Of the samples on one pixel it takes the least and the most.
func (v *canvas) line(samples []sample, of func(sample) int64, colour string) {
	fmt.Fprintf(v, `<polyline fill="none" stroke="%s" stroke-width="1.4" points="`, colour)
	for i := 0; i < len(samples); {
		x, low, high := math.Floor(v.x(samples[i].at)), math.Inf(1), math.Inf(-1)
		for ; i < len(samples) && math.Floor(v.x(samples[i].at)) == x; i++ {
			if n := of(samples[i]); n != unknown {
				low, high = min(low, float64(n)/mb), max(high, float64(n)/mb)
			}
		}
		if low > high {
			continue
		}
		fmt.Fprintf(v, "%.0f,%.1f ", x, v.y(low))
		if high > low {
			fmt.Fprintf(v, "%.0f,%.1f ", x, v.y(high))
		}
	}
	v.WriteString("\"/>\n")
}

func (v *canvas) legend(n int, name, colour string) {
	x := float64(left + 150*n)
	fmt.Fprintf(v, `<line x1="%.0f" y1="42" x2="%.0f" y2="42" stroke="%s" stroke-width="3"/>`+"\n", x, x+22, colour)
	v.text(x+28, 46, "start", 12, name)
}

// levels draws the pressure as a strip below the plot.
func (v *canvas) levels(samples []sample) {
	v.text(left-6, levelTop+10, "end", 11, "level")
	runs(samples, func(s sample) int64 { return s.pressure }, func(level int64, from, to time.Duration) {
		if level >= 0 && int(level) < len(levelColours) {
			v.rect(from, to, levelTop, levelHeight, levelColours[level], levelNames[level])
		}
	})
	for i, name := range levelNames {
		x := float64(left + 110*i)
		fmt.Fprintf(v, `<rect x="%.0f" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, levelTop+24, levelColours[i])
		v.text(x+15, levelTop+33, "start", 11, name)
	}
}

var levelNames = []string{"normal", "warn", "critical"}
