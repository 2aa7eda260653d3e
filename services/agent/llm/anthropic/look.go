// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/blufio/blufio/services/agent/llm"
)

var _ llm.Looker = (*Provider)(nil)

// Look lists the models ("List Models" in Anthropic's API reference), which only a
// valid key may.
func (p *Provider) Look(ctx context.Context) (llm.Sight, error) {
	key, err := p.c.OpenKey()
	if err != nil {
		return llm.Sight{Host: p.c.Host}, err
	}
	seen, err := p.c.Look(ctx, "/v1/models?limit=1000", header(key))
	if err != nil {
		return llm.Sight{Host: p.c.Host}, err
	}
	sight := llm.Sight{Host: p.c.Host, Took: seen.Took, Date: seen.Date}
	switch seen.Status {
	case http.StatusOK:
		sight.Models = modelIDs(seen.Body)
		return sight, nil
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		sight.Note = "it lists no models, so whether base_url is right and the key is taken is not known: `blufio send hello` tells"
		return sight, nil
	}
	return sight, p.explain(seen.Status, readError(seen.Body), DefaultModel)
}

func modelIDs(body []byte) (ids []string) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
		HasMore bool `json:"has_more"`
	}
	if json.Unmarshal(body, &list) != nil || list.HasMore {
		return nil
	}
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	return ids
}
