package main

import (
	"context"
	"fmt"
	"log"
	"os"

	keyfob "example/call/generated"
)

func main() {
	configuration := keyfob.NewConfiguration()
	configuration.Servers = keyfob.ServerConfigurations{{URL: os.Getenv("KEYFOB_URL")}}
	client := keyfob.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), keyfob.ContextBasicAuth,
		keyfob.BasicAuth{UserName: "app", Password: os.Getenv("KEYFOB_SECRET")})
	body := keyfob.NewOpenSessionBody("alice")
	body.SetClaims(map[string]interface{}{"tier": "gold"})
	opened, _, err := client.SessionsAPI.OpenSession(ctx).OpenSessionBody(*body).Execute()
	if err != nil {
		log.Fatal(err)
	}
	read, _, err := client.SessionsAPI.ReadSession(ctx, opened.Session.Id).Execute()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read.Claims["tier"])
}
