// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import "sync"

// manner is what of the configuration may change while the room runs. Each model call
// and each message takes it as it then is.
type manner struct {
	system        string // the instructions to the model
	textBytes     int
	replyTokens   int64
	historyTokens int64
	texts         bool // events carry message text

	static sync.Map // tokens of instructions and tools, by model
}

func (c Config) manner(texts bool) (*manner, error) {
	system, err := c.prompt()
	if err != nil {
		return nil, err
	}
	return &manner{system: system, textBytes: c.MaxTextBytes, replyTokens: c.MaxReplyTokens, historyTokens: c.HistoryTokens, texts: texts}, nil
}

// Reconfigure prepares to go on in another manner; take does it. The file with the
// instructions is read again even if it is the same one.
func (s *Service) Reconfigure(cfg Config, texts bool) (take func(), err error) {
	m, err := cfg.manner(texts)
	if err != nil {
		return nil, err
	}
	return func() { s.manner.Store(m) }, nil
}
