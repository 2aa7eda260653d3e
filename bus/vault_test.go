// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// A value travels in JSON and shows itself nowhere else.
func TestHiddenTravelsAndDoesNotShow(t *testing.T) {
	const planted = "sesame-4c1"
	v := bus.SecretValue{Name: "a.b", Value: bus.Hide(planted)}
	data, err := json.Marshal(v)
	if err != nil || !bytes.Contains(data, []byte(planted)) {
		t.Fatalf("%s, %v", data, err)
	}
	var back bus.SecretValue
	if err := json.Unmarshal(data, &back); err != nil || back.Value.Reveal() != planted {
		t.Errorf("%v", err)
	}
	var shown bytes.Buffer
	type inner struct{ v bus.SecretValue }
	for _, x := range []any{v, &v, v.Value, &v.Value, inner{v}, []bus.SecretValue{v}, map[string]bus.Hidden{"x": v.Value}, errors.Join(fmt.Errorf("%v", v))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&shown, verb, x)
		}
	}
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&shown, nil)), slog.New(slog.NewJSONHandler(&shown, nil))} {
		log.Info("x", "value", v, "pointer", &v, "hidden", v.Value)
	}
	if strings.Contains(shown.String(), planted) || strings.Contains(shown.String(), fmt.Sprintf("%x", planted)) {
		t.Errorf("shown: %s", &shown)
	}
	if err := json.Unmarshal([]byte(`{"name":"a","value":7351}`), &back); err == nil || strings.Contains(err.Error(), "7351") {
		t.Error(err)
	}
}
