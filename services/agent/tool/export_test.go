// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import "time"

// MaxFetches is how many http_get calls run at one time, as installed.
var MaxFetches = Defaults().MaxFetches

// PlainText is what a person would read of a page.
var PlainText = plainText

// WithTimeout is the same http_get, sharing its slots, that gives up sooner.
func WithTimeout(t Tool, d time.Duration) Tool {
	h := t.(httpGet)
	h.timeout = d
	return h
}
