// SPDX-License-Identifier: MIT OR Apache-2.0

// Command telegramtest is a Telegram for one person at a terminal, to talk to a
// bot by hand without an account:
//
//	go run ./services/channel/telegram/telegramtest
//
// It prints the environment that a daemon is started with. Lines that are typed
// are messages to the bot; what the bot sends and changes is printed.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

const person = 1001

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "telegramtest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	fake, err := fakebot.New()
	if err != nil {
		return err
	}
	defer fake.Close()
	fmt.Fprintf(out, "export BLUFIO_TELEGRAM__API_URL=%s BLUFIO_TELEGRAM__BOT_TOKEN=%s BLUFIO_TELEGRAM__ALLOW=%d\n", fake.URL(), fake.Token(), person)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the program at the latest: reading a terminal cannot be cut off
		defer cancel()
		for lines := bufio.NewScanner(in); lines.Scan(); {
			if lines.Text() != "" {
				fake.Say(person, lines.Text())
			}
		}
	}()
	show(ctx, fake, out)
	return nil
}

// show prints each message when it comes and whenever it changes.
func show(ctx context.Context, fake *fakebot.Bot, out io.Writer) {
	seen := map[int64]int{}
	for {
		var news []fakebot.Message
		look := func() bool {
			news = nil
			for _, m := range fake.Chat(person) {
				if edits, ok := seen[m.ID]; !ok || edits != m.Edits {
					news = append(news, m)
				}
			}
			return len(news) > 0
		}
		if !fake.Wait(ctx, look) {
			return
		}
		for _, m := range news {
			seen[m.ID] = m.Edits
			fmt.Fprintf(out, "bot #%d (edit %d): %s\n", m.ID, m.Edits, m.Plain)
		}
	}
}
