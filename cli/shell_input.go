// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import "strings"

// Lines that open a block, which the same line closes.
var fences = []string{"```", "<<<"}

// message decides what Enter does to what was typed so far. When it is a whole
// message, that is returned with true; otherwise text is what typing goes on with.
//
// A backslash at the end continues on the next line. A line of ``` or <<< alone opens
// a block that reaches to the same line again; the two lines are no part of the message.
func message(typed string) (text string, whole bool) {
	first, rest, _ := strings.Cut(typed, "\n")
	for _, fence := range fences {
		if strings.TrimSpace(first) == fence {
			return block(typed, rest, fence)
		}
	}
	if n := len(typed) - len(strings.TrimRight(typed, `\`)); n%2 == 1 {
		return typed[:len(typed)-1] + "\n", false
	}
	return typed, true
}

// block looks for the line that closes a block. Text in which more follows was
// pasted, and stays as it is.
func block(typed, rest, fence string) (string, bool) {
	lines := strings.Split(rest, "\n")
	for i, l := range lines {
		switch {
		case strings.TrimSpace(l) != fence:
		case i == len(lines)-1:
			return strings.Join(lines[:i], "\n"), true
		default:
			return typed, true
		}
	}
	return typed + "\n", false
}

// slash splits what the shell itself may have to do from its argument:
// "/session  work " is "session" and "work". The name is empty for a message.
func slash(text string) (name, argument string) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "/") || strings.Contains(text, "\n") {
		return "", ""
	}
	name, argument, _ = strings.Cut(text[1:], " ")
	return name, strings.TrimSpace(argument)
}

// Commands that Tab knows: the agent's, and the shell's own.
var (
	agentCommands = []string{"cost", "help", "new", "status", "stop", "think"}
	ownCommands   = []string{"history", "quit", "session", "sessions"}
)

// shellHelp follows the agent's answer to /help.
const shellHelp = `/session NAME  speak in another conversation
/sessions      all conversations
/history [N]   the last N messages, 10 without a number
/quit          leave, as Ctrl-D does`

// complete returns what the typed beginning may go on as, the whole line each.
// sessions are names that were seen.
func complete(typed string, sessions []string) []string {
	prefix, words := "/", append(append([]string{}, agentCommands...), ownCommands...)
	if strings.HasPrefix(typed, "/session ") {
		prefix, words = "/session ", sessions
	}
	var found []string
	for _, w := range words {
		if strings.HasPrefix(prefix+w, typed) && strings.HasPrefix(typed, "/") {
			found = append(found, prefix+w)
		}
	}
	return found
}

// common is the longest beginning that all have.
func common(words []string) string {
	if len(words) == 0 {
		return ""
	}
	prefix := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return strings.ToValidUTF8(prefix, "")
}
