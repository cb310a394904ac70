// Calls the API at API_ENDPOINT with the types that openapi-typescript generated.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const client = createClient<paths>({ baseUrl: process.env.API_ENDPOINT ?? "" });
const path = { id: "ada/1" };

const created = await client.POST("/users", {
  body: { id: "ada/1", email: "ada+1@example.com", born: 1815 },
});
assert.equal(created.data?.id, "ada/1");

const again = await client.POST("/users", { body: { id: "ada/1" } });
assert.equal(again.response.status, 400);
assert.equal(again.error?.code, "UserAlreadyExists");

const found = await client.GET("/users", { params: { query: { email: "ada+1@example.com", limit: 1 } } });
assert.deepEqual(found.data?.map((user) => user.id), ["ada/1"]);

const replaced = await client.PUT("/users/{id}", { params: { path }, body: { title: "Countess" } });
assert.deepEqual(replaced.data, { id: "ada/1", title: "Countess" });

const deleted = await client.DELETE("/users/{id}", { params: { path } });
assert.deepEqual(deleted.data, { id: "ada/1", title: "Countess" });

const missing = await client.GET("/users/{id}", { params: { path } });
assert.equal(missing.error?.code, "UserNotFound");

const all = await client.DELETE("/users");
assert.equal(all.response.status, 200);
assert.equal(all.data, null);
console.log("The client in TypeScript works.");
