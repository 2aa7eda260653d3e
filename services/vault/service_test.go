// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// An operator keeps, lists, deletes and rotates by the bus.
func TestRoom(t *testing.T) {
	r := newRig(t)
	b := bustest.New(t)
	v := r.open()
	roomtest.Start(t, b, New(v, nil))
	cli := b.Connect(t, "cli", bus.VaultSet, bus.VaultList, bus.VaultDelete, bus.VaultRotate)
	set := func(name, value string) error {
		_, err := bus.VaultSet.Ask(t.Context(), cli, bus.SecretValue{Name: name, Value: bus.Hide(value)})
		return err
	}
	if _, err := bus.VaultRotate.Ask(t.Context(), cli, bus.VaultRotation{}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("rotate an empty vault: %v", err)
	}
	if err := set("a.b", planted); err != nil {
		t.Fatal(err)
	}
	if err := set("largest", strings.Repeat("\x01", maxBytes)); err != nil { // six bytes each, in JSON
		t.Error(err)
	}
	if err := set("A", planted); bus.CodeOf(err) != bus.CodeInvalid || strings.Contains(fmt.Sprint(err), planted) {
		t.Error(err)
	}
	if _, err := bus.VaultRotate.Ask(t.Context(), cli, bus.VaultRotation{}); err != nil {
		t.Error(err)
	}
	l, err := bus.VaultList.Ask(t.Context(), cli, bus.SecretQuery{})
	if err != nil || len(l.Secrets) != 2 || l.Secrets[0].Name != "a.b" || strings.Contains(fmt.Sprint(l), planted) {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := bus.VaultDelete.Ask(t.Context(), cli, bus.SecretName{Name: "a.c"}); bus.CodeOf(err) != bus.CodeNotFound || !strings.Contains(err.(*bus.Error).Hint, "a.b") {
		t.Error(err)
	}
	if _, err := bus.VaultDelete.Ask(t.Context(), cli, bus.SecretName{Name: "largest"}); err != nil {
		t.Error(err)
	}
	r.want(v, "a.b", planted)
	if strings.Contains(r.logged.String(), planted) {
		t.Error("the value was logged")
	}
	for i, want := range []float64{1, maxSecrets, 1} {
		if got := testutil.ToFloat64(New(v, nil).Door().Metrics[i]); got != want {
			t.Errorf("metric %d is %v, want %v", i, got, want)
		}
	}
}

// What counts more than the vault is told with each answer.
func TestOverridden(t *testing.T) {
	r := newRig(t)
	v := r.open()
	v.Override("a", "environment A")
	out, err := v.Set(t.Context(), "a", config.NewSecret("x"))
	if err != nil || out.Overridden != "environment A" || v.List().Secrets[0].Overridden != "environment A" {
		t.Errorf("%+v, %v", out, err)
	}
}
