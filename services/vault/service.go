// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"context"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
	"github.com/prometheus/client_golang/prometheus"
)

// Name is the room's name.
const Name = "vault"

// Service is the room: operators reach the vault by it.
type Service struct {
	vault *Vault
	after <-chan struct{}
}

var _ services.Service = (*Service)(nil)

// New returns the room of a vault, which opens it when after is closed, or at once
// where that is nil.
func New(v *Vault, after <-chan struct{}) *Service { return &Service{v, after} }

// Door declares the room.
func (s *Service) Door() services.Door {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	return services.Door{
		Name: Name,
		Says: []bus.Lane{bus.SecretChanged},
		Hears: []bus.Handler{
			bus.VaultSet.Answer(func(ctx context.Context, r bus.SecretValue) (bus.SecretOutcome, error) {
				return s.vault.Set(ctx, r.Name, config.NewSecret(r.Value.Reveal()))
			}).Workers(2).Queue(16), // changes are made one after another anyway
			bus.VaultList.Answer(func(context.Context, bus.SecretQuery) (bus.SecretList, error) { return s.vault.List(), nil }),
			bus.VaultDelete.Answer(func(ctx context.Context, r bus.SecretName) (bus.SecretOutcome, error) {
				return s.vault.Delete(ctx, r.Name)
			}),
			bus.VaultRotate.Answer(func(ctx context.Context, _ bus.VaultRotation) (bus.VaultRotated, error) { return s.vault.Rotate(ctx) }),
		},
		Metrics: []prometheus.Collector{
			gauge("blufio_vault_secrets", "Secrets in the vault.", func() float64 { return float64(len(s.vault.Names())) }),
			gauge("blufio_vault_secrets_limit", "Bound of blufio_vault_secrets, fixed.", func() float64 { return maxSecrets }),
			gauge("blufio_vault_open", "1 while the secrets of the vault can be read, or there are none.", func() float64 {
				if len(s.vault.problems()) > 0 {
					return 0
				}
				return 1
			}),
		},
		Health: s.vault.problems,
		Probes: Probes(s.vault),
	}
}

// Run opens the vault, late enough to hold up nobody's start, and waits for the end.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	ready()
	if s.after != nil {
		select {
		case <-s.after:
		case <-ctx.Done():
			return nil
		}
	}
	s.vault.Unlock(ctx)
	<-ctx.Done()
	return nil
}
