// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"errors"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

var _ config.Checker = Config{}

func TestConfigLoads(t *testing.T) {
	type file struct {
		Gateway Config `koanf:"gateway" doc:"The HTTP gateway."`
	}
	tests := []struct {
		key, value string
		problem    string // "" is accepted
	}{
		{"gateway.max_wait", "2m", ""},
		{"gateway.listen", "0.0.0.0:3000", "gateway.listen"},
		{"gateway.tls_cert", "cert.pem", "tls_key"},
		{"gateway.max_connections", "0", "max_connections"},
		{"gateway.max_body_bytes", "2000000", "max_body_bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			c := file{Gateway: Defaults()}
			_, err := config.Load(&c, config.Sources{Flags: map[string]string{tt.key: tt.value}})
			var problems config.Problems
			switch {
			case tt.problem == "" && err != nil:
				t.Error(err)
			case tt.problem != "" && (!errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems.Error(), tt.problem)):
				t.Errorf("got %v", err)
			}
		})
	}
	if missing := config.Undocumented(file{Gateway: Defaults()}); len(missing) > 0 {
		t.Errorf("without documentation: %v", missing)
	}
}
