package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"example/call/generated"
)

func main() {
	authenticate := func(ctx context.Context, request *http.Request) error {
		request.SetBasicAuth("app", os.Getenv("KEYFOB_SECRET"))
		return nil
	}
	client, err := generated.NewClientWithResponses(os.Getenv("KEYFOB_URL"), generated.WithRequestEditorFn(authenticate))
	if err != nil {
		log.Fatal(err)
	}
	claims := map[string]interface{}{"tier": "gold"}
	opened, err := client.OpenSessionWithResponse(context.Background(), &generated.OpenSessionParams{},
		generated.OpenSessionJSONRequestBody{Subject: "alice", Claims: &claims})
	if err != nil || opened.JSON201 == nil {
		log.Fatal(err, string(opened.Body))
	}
	read, err := client.ReadSessionWithResponse(context.Background(), opened.JSON201.Session.Id)
	if err != nil || read.JSON200 == nil {
		log.Fatal(err, string(read.Body))
	}
	fmt.Println(read.JSON200.Claims["tier"])
}
