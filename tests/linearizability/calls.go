// The calls of a client as HTTP requests, and their answers as outputs of the model.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const form = "application/x-www-form-urlencoded"

// request is the HTTP form of a call.
func (s *Session) request(in Input) Request {
	token := s.tokens[in.Token]
	request := Request{Method: "POST", Headers: s.authorization}
	switch in.Kind {
	case Open:
		request.Path, request.Type = "/v1/sessions", "application/json"
		request.Headers += "Idempotency-Key: " + s.subject + "\r\n"
		request.Body = fmt.Sprintf(`{"subject":%q}`, s.subject)
	case Renew:
		request.Path = "/v1/sessions/" + s.session + "/renew"
	case Refresh:
		request.Path, request.Type, request.Body = "/oauth2/token", form, refreshBody(token)
	case Introspect:
		request.Path, request.Type, request.Body = "/oauth2/introspect", form, "token="+token
	case Revoke:
		request.Path, request.Type, request.Body = "/oauth2/revoke", form, "token="+token
	case Check:
		request.Path, request.Type = "/v1/sessions/check", "application/json"
		request.Body = fmt.Sprintf(`{"token":%q,"touch":false}`, token)
	case Read:
		request.Method, request.Path = "GET", "/v1/sessions/"+s.session
	case EndSession:
		request.Method, request.Path = "DELETE", "/v1/sessions/"+s.session
	case EndSubject:
		request.Method, request.Path = "DELETE", "/v1/subjects/"+s.subject+"/sessions"
	}
	return request
}

func refreshBody(token string) string { return "grant_type=refresh_token&refresh_token=" + token }

func basic(client, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(client+":"+secret)) + "\r\n"
}

type family struct {
	State      string
	Generation int
}

// answerBody is what is read of all answers.
type answerBody struct {
	Active       bool
	Subject      string `json:"sub"`
	SessionID    string `json:"sid"`
	Error        string
	RefreshToken string `json:"refresh_token"`
	AccessToken  string `json:"access_token"`
	SessionToken string `json:"session_token"`
	State        string
	Families     []family
	Ended        json.RawMessage // of a session, or how many
	Session      struct{ ID, Subject string }
}

// output reads a response. What fits no answer of the documents is returned as text, which the model rejects.
func (s *Session) output(in Input, response Response) Output {
	var body answerBody
	if response.Body != "" && json.Unmarshal([]byte(response.Body), &body) != nil {
		return Output{Answer: fmt.Sprintf("%d without JSON: %s", response.Status, response.Body)}
	}
	switch {
	case response.Status == 503:
		return Output{Answer: unknown}
	case in.Kind == Open && response.Status == 201 && body.Session.Subject == s.subject:
		s.session = body.Session.ID
		return s.tokensOf(opened, body)
	case in.Kind == Renew && response.Status == 200 && body.Session.ID == s.session:
		return s.tokensOf(renewed, body)
	case (in.Kind == Open || in.Kind == Renew) && response.Status == 409:
		return Output{Answer: conflict}
	case in.Kind == Refresh && response.Status == 200:
		return s.tokensOf(pair, body)
	case in.Kind == Refresh && response.Status == 400 && body.Error == invalidGrant:
		return Output{Answer: invalidGrant}
	case in.Kind == Revoke && response.Status == 200, in.Kind == EndSession && response.Status == 204:
		return Output{Answer: done}
	case in.Kind == EndSubject && response.Status == 200:
		return Output{Answer: "ended " + string(body.Ended)}
	case (in.Kind == Introspect || in.Kind == Check) && response.Status == 200:
		if strings.TrimSpace(response.Body) == `{"active":false}` {
			return Output{Answer: inactive}
		}
		introspected := in.Kind == Introspect && body.Subject == s.subject && body.SessionID == s.session
		checked := in.Kind == Check && body.Session.Subject == s.subject && body.Session.ID == s.session
		if body.Active && (introspected || checked) {
			return Output{Answer: active}
		}
	case in.Kind == Read && response.Status == 200 && body.State == "active":
		if families := activeFamilies(body); len(families) == 1 {
			return Output{Answer: fmt.Sprintf("active in generation %d", families[0].Generation)}
		}
	case in.Kind == Read && response.Status == 200 && body.State == "ended":
		var end struct{ Reason string }
		json.Unmarshal(body.Ended, &end)
		return Output{Answer: "ended by " + end.Reason}
	}
	return Output{Answer: fmt.Sprintf("unexpected: %d %s", response.Status, response.Body)}
}

// activeFamilies leaves out those that renewals have replaced.
func activeFamilies(body answerBody) []family {
	return slices.DeleteFunc(slices.Clone(body.Families), func(f family) bool { return f.State != "active" })
}

// tokensOf labels the tokens of an answer; one that it does not have is "".
func (s *Session) tokensOf(word string, body answerBody) Output {
	return Output{
		Answer:  word,
		Session: s.label('s', body.SessionToken),
		Refresh: s.label('r', body.RefreshToken),
		Access:  s.label('a', body.AccessToken),
	}
}
