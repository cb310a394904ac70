// Calls the API at API_ENDPOINT with the Go client that OpenAPI Generator generated.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"regexp"

	"clients/profile"
)

func check(ok bool, what ...any) {
	if !ok {
		fmt.Println(what...)
		os.Exit(1)
	}
}

func main() {
	configuration := profile.NewConfiguration()
	configuration.Servers = profile.ServerConfigurations{{URL: os.Getenv("API_ENDPOINT")}}
	client, ctx := profile.NewAPIClient(configuration), context.Background()
	extra := map[string]any{"born": 1815.0, "tags": []any{"a", map[string]any{"b": nil}}}
	email := "ada+1@example.com"

	for _, id := range []string{"a/b", "c d", "ü"} {
		user := profile.UserToCreate{Id: &id, Email: &email, AdditionalProperties: extra}
		created, _, err := client.UsersAPI.CreateUser(ctx).UserToCreate(user).Execute()
		check(err == nil && created.Id == id, err, created)
	}

	found, cursor := 0, ""
	next := regexp.MustCompile(`[?&]cursor=([^&>]+)`)
	for {
		request := client.UsersAPI.ListUsers(ctx).Limit(1)
		if cursor != "" {
			request = request.Cursor(cursor)
		}
		page, response, err := request.Execute()
		check(err == nil, err)
		found += len(page)
		link := next.FindStringSubmatch(response.Header.Get("Link"))
		if link == nil {
			break
		}
		cursor = link[1]
	}
	check(found == 3, "users in the list:", found)

	read, _, err := client.UserAPI.GetUser(ctx, "a/b").Execute()
	check(err == nil && reflect.DeepEqual(read.AdditionalProperties, extra), err, read)
	replacement := profile.Replacement{Email: read.Email, AdditionalProperties: read.AdditionalProperties}
	replacement.AdditionalProperties["title"] = "Countess"
	replaced, _, err := client.UserAPI.ReplaceUser(ctx, "a/b").Replacement(replacement).Execute()
	check(err == nil && *replaced.Email == email, err, replaced)
	check(reflect.DeepEqual(replaced.AdditionalProperties, replacement.AdditionalProperties), replaced)

	for _, id := range []string{"a/b", "c d", "ü"} {
		_, _, err := client.UserAPI.DeleteUser(ctx, id).Execute()
		check(err == nil, err)
	}
	_, response, err := client.UserAPI.GetUser(ctx, "a/b").Execute()
	check(err != nil && response.StatusCode == 400, response)
	fmt.Println("OpenAPI Generator, Go: works")
}
