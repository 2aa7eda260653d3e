// SPDX-License-Identifier: MIT OR Apache-2.0

// Package openaitest proves that a program written for OpenAI works with the
// gateway as it is: its test starts a real daemon and runs the npm package
// openai, unchanged, against it. It needs node and npm, and the registry or npm's
// cache of it. Without node and npm it is skipped, except where CI is set.
package openaitest
