package main

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

const older = "open; refresh r1 = pair r2 a2; refresh r2 = pair r3 a3; "

// Calls separated by ; follow each other, calls separated by | overlap. "open" is "open = opened s1 r1 a1".
var histories = []struct {
	name    string
	policy  Policy
	legal   bool
	history string
}{
	{"an opening can be repeated until the session is used", Retry, true,
		"open; open; refresh r1 = pair r2 a2; open = conflict"},
	{"a repeated opening gets the same tokens", Retry, false, "open; open = opened s2 r2 a2"},
	{"a used session is not opened again", Retry, false, "open; refresh r1 = pair r2 a2; open"},
	{"a session that was not used is no conflict", Retry, false, "open; open = conflict"},
	{"an opening without answer can be repeated", Retry, true, "open = unknown; open; open"},

	{"a retry gets the same pair", Retry, true, "open; refresh r1 = pair r2 a2; refresh r1 = pair r2 a2"},
	{"a retry gets no second refresh token", Retry, false,
		"open; refresh r1 = pair r2 a2; refresh r1 = pair r3 a2"},
	{"a retry gets no second access token", Retry, false,
		"open; refresh r1 = pair r2 a2; refresh r1 = pair r2 a3"},
	{"a retry gets another access token after a revocation", Retry, true,
		"open; refresh r1 = pair r2 a2; revoke a2 = done; refresh r1 = pair r2 a3"},
	{"a retry does not get a revoked access token", Retry, false,
		"open; refresh r1 = pair r2 a2; revoke a2 = done; refresh r1 = pair r2 a2"},
	{"a refresh gets no earlier access token", Retry, false, "open; refresh r1 = pair r2 a1"},
	{"a refresh without answer and its retry", Retry, true,
		"open; refresh r1 = unknown; refresh r1 = pair r2 a2; refresh r2 = pair r3 a3"},
	{"two retries of a refresh without answer get one pair", Retry, false,
		"open; refresh r1 = unknown; refresh r1 = pair r2 a2; refresh r1 = pair r3 a2"},
	{"an answered refresh is not lost", Retry, false,
		"open; refresh r1 = pair r2 a2; introspect r1 = active"},
	{"a refresh without answer may be done", Retry, true,
		"open; refresh r1 = unknown; introspect r1 = inactive"},
	{"or not be done", Retry, true, "open; refresh r1 = unknown; introspect r1 = active"},
	{"or be done later", Retry, true,
		"open; refresh r1 = unknown; introspect r1 = active; introspect r1 = inactive"},
	{"and is not undone", Retry, false,
		"open; refresh r1 = unknown; introspect r1 = inactive; introspect r1 = active"},
	{"an unknown refresh token gets no pair", Retry, false, "open; refresh r9 = pair r2 a2"},
	{"racing refreshes get one pair", Retry, true,
		"open; refresh r1 = pair r2 a2 | refresh r1 = pair r2 a2"},
	{"racing refreshes do not get two", Retry, false,
		"open; refresh r1 = pair r2 a2 | refresh r1 = pair r3 a3"},
	{"the generation counts refreshes and no retries", Retry, true,
		"open; refresh r1 = pair r2 a2; refresh r1 = pair r2 a2; read = active in generation 1"},

	{"an older token ends the session", Retry, true,
		older + "refresh r1 = invalid_grant; introspect s1 = inactive; introspect a3 = inactive; " +
			"read = ended by refresh_reuse"},
	{"the session does not go on after reuse", Retry, false,
		older + "refresh r1 = invalid_grant; refresh r3 = pair r4 a4"},
	{"an older token gets no pair", Retry, false, older + "refresh r1 = pair r2 a2"},
	{"reuse without answer may end the session", Retry, true,
		older + "refresh r1 = unknown; introspect s1 = inactive"},
	{"strict: the previous token ends the session", Strict, true,
		"open; refresh r1 = pair r2 a2; refresh r1 = invalid_grant; introspect s1 = inactive"},
	{"strict: the session does not go on", Strict, false,
		"open; refresh r1 = pair r2 a2; refresh r1 = invalid_grant; introspect s1 = active"},
	{"strict: a retry gets no pair", Strict, false, "open; refresh r1 = pair r2 a2; refresh r1 = pair r2 a2"},
	{"refuse: the previous token changes nothing", Refuse, true,
		"open; refresh r1 = pair r2 a2; refresh r1 = invalid_grant; refresh r2 = pair r3 a3"},
	{"refuse: an older token ends the session", Refuse, false,
		older + "refresh r1 = invalid_grant; refresh r3 = pair r4 a4"},

	{"a renewal replaces all tokens", Retry, true,
		"open; renew = renewed s2 r2 a2; introspect s1 = inactive; introspect r1 = inactive; " +
			"check a1 = inactive; introspect s2 = active; refresh r2 = pair r3 a3"},
	{"a renewal does not leave an old token active", Retry, false,
		"open; renew = renewed s2 r2 a2; introspect a1 = active"},
	{"a replaced refresh token is no reuse", Retry, true,
		older + "renew = renewed s2 r4 a4; refresh r1 = invalid_grant; refresh r3 = invalid_grant; " +
			"introspect s2 = active; read = active in generation 0"},
	{"a replaced refresh token gets no pair", Retry, false,
		"open; refresh r1 = pair r2 a2; renew = renewed s2 r3 a3; refresh r1 = pair r2 a2"},
	{"a renewal without answer may be done", Retry, true,
		"open; renew = unknown; introspect s1 = inactive; refresh r1 = invalid_grant; " +
			"renew = renewed s2 r2 a2"},
	{"a replaced refresh token revokes nothing", Retry, true,
		"open; renew = renewed s2 r2 a2; revoke r1 = done; introspect s2 = active"},
	{"a replaced session token is a logout", Retry, true,
		"open; renew = renewed s2 r2 a2; revoke s1 = done; read = ended by logout"},
	{"an ended session is not renewed", Retry, false, "open; end session = done; renew = renewed s2 r2 a2"},

	{"one access token is revoked and nothing else", Retry, true,
		"open; refresh r1 = pair r2 a2; revoke a1 = done; introspect a1 = inactive; " +
			"introspect a2 = active; introspect r2 = active; introspect s1 = active"},
	{"a revocation is not lost", Retry, false, "open; revoke a1 = done; introspect a1 = active"},
	{"a revocation without answer may be done later", Retry, true,
		"open; revoke a1 = unknown; introspect a1 = active; introspect a1 = inactive"},
	{"no answer depends on a later revocation", Retry, false,
		"open; introspect a1 = inactive; revoke a1 = done"},
	{"during a revocation both answers are right", Retry, true,
		"open; revoke a1 = done | introspect a1 = active | introspect a1 = inactive"},
	{"a revoked refresh token ends the session, spent or not", Retry, true,
		"open; refresh r1 = pair r2 a2; revoke r1 = done; refresh r2 = invalid_grant; " +
			"read = ended by token_revoked"},
	{"a revoked session token is a logout", Retry, true, "open; revoke s1 = done; read = ended by logout"},
	{"the first end gives the reason", Retry, true,
		"open; end session = done; revoke r1 = done; read = ended by logout"},
	{"an ended session is not active", Retry, false, "open; end session = done; introspect s1 = active"},
	{"a session ends once", Retry, false, "open; end session = done; end sessions of subject = ended 1"},
	{"the session of a subject ends", Retry, true,
		"open; end sessions of subject = ended 1; introspect a1 = inactive; check s1 = inactive"},
	{"no session ends by a rollback", Retry, false, "open; read = ended by store_rollback"},
	{"an ended session is not opened again", Retry, false, "open; end session = done; open"},
	{"an internal error is no answer", Retry, false, "open; refresh r1 = unexpected: 500"},
}

func TestHistories(t *testing.T) {
	for _, c := range histories {
		t.Run(c.name, func(t *testing.T) {
			legal := porcupine.CheckOperations(model(c.policy), closed(parse(c.history)))
			if legal != c.legal {
				t.Errorf("linearizable: %v", legal)
			}
		})
	}
}

var label = regexp.MustCompile(`^[sra]\d$`)

func parse(text string) []porcupine.Operation {
	var history []porcupine.Operation
	for time, calls := range strings.Split(text, "; ") {
		for _, call := range strings.Split(calls, " | ") {
			if call == "open" {
				call = "open = opened s1 r1 a1"
			}
			in, out, _ := strings.Cut(call, " = ")
			start := int64(10 * time)
			operation := porcupine.Operation{ClientId: len(history), Call: start, Return: start + 5}
			var input Input
			var output Output
			for _, word := range strings.Fields(in) {
				if label.MatchString(word) {
					input.Token = word
				} else {
					input.Kind = Kind(strings.TrimSpace(string(input.Kind) + " " + word))
				}
			}
			for _, word := range strings.Fields(out) {
				switch {
				case !label.MatchString(word):
					output.Answer = strings.TrimSpace(output.Answer + " " + word)
				case word[0] == 's':
					output.Session = word
				case word[0] == 'r':
					output.Refresh = word
				default:
					output.Access = word
				}
			}
			if output.Answer == unknown {
				operation.Return = math.MaxInt64
			}
			operation.Input, operation.Output = input, output
			history = append(history, operation)
		}
	}
	return history
}

func TestResponsesThatNoDocumentAllowsAreRejected(t *testing.T) {
	session := &Session{subject: "alice", session: "id"}
	for _, c := range []struct {
		kind     Kind
		response Response
		answer   string
	}{
		{Introspect, Response{200, `{"active":false}`}, inactive},
		{Introspect, Response{200, `{"active":true,"sub":"alice","sid":"id"}`}, active},
		{Introspect, Response{200, `{"active":true,"sub":"bob","sid":"id"}`}, "unexpected: "},
		{Introspect, Response{200, `{"active":true,"sub":"alice","sid":"other"}`}, "unexpected: "},
		{Introspect, Response{200, `{"active":false,"sub":"alice"}`}, "unexpected: "},
		{Check, Response{200, `{"active":true,"session":{"id":"id","subject":"alice"}}`}, active},
		{Refresh, Response{400, `{"error":"invalid_grant"}`}, invalidGrant},
		{Refresh, Response{400, `{"error":"invalid_request"}`}, "unexpected: "},
		{Refresh, Response{429, `{}`}, "unexpected: "},
		{Refresh, Response{503, `{}`}, unknown},
		{Revoke, Response{200, ``}, done},
		{Revoke, Response{500, ``}, "unexpected: "},
		{EndSession, Response{404, `{}`}, "unexpected: "},
		{EndSubject, Response{200, `{"ended":1}`}, "ended 1"},
		{Read, Response{200, `{"state":"ended","ended":{"reason":"logout"}}`}, "ended by logout"},
		{Read, Response{200, `{"state":"active","families":[{"state":"ended","generation":5},` +
			`{"state":"active","generation":3}]}`}, "active in generation 3"},
		{Read, Response{200, `{"state":"active","families":[{"state":"ended"}]}`}, "unexpected: "},
	} {
		if out := session.output(Input{c.kind, ""}, c.response); !strings.HasPrefix(out.Answer, c.answer) {
			t.Errorf("%s, %v: %s", c.kind, c.response, out.Answer)
		}
	}
}
