// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/blufio/blufio/services/agent/llm"
)

var _ llm.Looker = (*Provider)(nil)

// Look lists the models ("List models" in OpenAI's API reference), which only a valid
// key may. OpenRouter lists them for everybody; there it asks about the key ("Get
// current API key" in OpenRouter's).
func (p *Provider) Look(ctx context.Context) (llm.Sight, error) {
	path := "/models"
	if p.cfg.server().At("openrouter.ai") {
		path = "/key"
	}
	key, err := p.c.OpenKey()
	if err != nil {
		return llm.Sight{Host: p.c.Host}, err
	}
	header := http.Header{}
	if key != "" {
		header.Set("Authorization", "Bearer "+key)
	}
	seen, err := p.c.Look(ctx, path, header)
	if err != nil {
		return llm.Sight{Host: p.c.Host}, err
	}
	sight := llm.Sight{Host: p.c.Host, Took: seen.Took, Date: seen.Date}
	e := readError(seen.Body)
	switch {
	case seen.Status == http.StatusOK:
		sight.Models = modelIDs(seen.Body)
		return sight, nil
	case seen.Status == http.StatusNotFound || seen.Status == http.StatusMethodNotAllowed:
		sight.Note = "it lists no models, so whether base_url is right and the key is taken is not known: `blufio send hello` tells"
		return sight, nil
	case seen.Status == http.StatusForbidden && e.says("missing scopes", "api.model.read"):
		sight.Note = "it knows the key, which may not list models; whether it may ask them is not known"
		return sight, nil
	}
	return sight, p.explain(seen.Status, e, p.Model())
}

func modelIDs(body []byte) (ids []string) {
	var list struct {
		Data json.RawMessage `json:"data"`
	}
	var models []struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &list) != nil || json.Unmarshal(list.Data, &models) != nil {
		return nil
	}
	for _, m := range models {
		ids = append(ids, m.ID)
	}
	return ids
}
