// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"net/http"

	"github.com/blufio/blufio/bus"
)

// modelID is the one model there is: the agent. Which language model it thinks
// with is its own affair.
const modelID = "blufio"

// modelBody is a model as OpenAI's clients know them.
type modelBody struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // Unix seconds
	OwnedBy string `json:"owned_by"`
}

func (f *front) model() modelBody {
	return modelBody{ID: modelID, Object: "model", Created: f.made.Unix(), OwnedBy: modelID}
}

func (f *front) getModels(w http.ResponseWriter, _ *request) error {
	var body struct {
		Object string      `json:"object"`
		Data   []modelBody `json:"data"`
	}
	body.Object, body.Data = "list", []modelBody{f.model()}
	return writeJSON(w, http.StatusOK, body)
}

func (f *front) getModel(w http.ResponseWriter, r *request) error {
	if err := knownModel(r.PathValue("id")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, f.model())
}

// knownModel refuses another model than the agent. Empty is the agent too.
func knownModel(id string) error {
	if id == "" || id == modelID {
		return nil
	}
	return &refusal{status: http.StatusNotFound, code: "model_not_found", param: "model",
		message: "there is no model " + shorten(id), hint: "use " + modelID}
}

// openAIErrorBody is an error in OpenAI's shape. A hint is part of the message:
// their clients show nothing else.
type openAIErrorBody struct {
	Error openAIErrorDetail `json:"error"`
}

type openAIErrorDetail struct {
	Message string   `json:"message"`
	Type    string   `json:"type"`
	Param   *string  `json:"param"`
	Code    bus.Code `json:"code"`
}

func openAIError(e *refusal) openAIErrorBody {
	d := openAIErrorDetail{Message: e.message, Type: "invalid_request_error", Code: e.code}
	if e.hint != "" {
		d.Message += "; " + e.hint
	}
	if e.param != "" {
		d.Param = &e.param
	}
	switch {
	case e.status == http.StatusUnauthorized:
		d.Type, d.Code = "authentication_error", "invalid_api_key"
	case e.status == http.StatusForbidden:
		d.Type = "permission_error"
	case e.status == http.StatusPaymentRequired:
		d.Type = "insufficient_quota"
	case e.status == http.StatusTooManyRequests:
		d.Type = "rate_limit_error"
		if e.code == reasonRate {
			d.Code = "rate_limit_exceeded"
		}
	case e.status >= http.StatusInternalServerError:
		d.Type = "server_error"
	}
	return openAIErrorBody{Error: d}
}
