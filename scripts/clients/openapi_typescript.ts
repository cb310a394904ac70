// Calls the API at API_ENDPOINT with the types that openapi-typescript generated.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const client = createClient<paths>({ baseUrl: process.env.API_ENDPOINT ?? "" });
const ids = ["a/b", "c d", "ü"];
const extra = { born: 1815, tags: ["a", { b: null }], nested: { deep: [true, 0.5] } };

for (const id of ids) {
  const user = { id, email: "ada+1@example.com", ...extra };
  const created = await client.POST("/users", { body: user });
  assert.deepEqual(created.data, user);
}
const again = await client.POST("/users", { body: { id: "a/b" } });
assert.equal(again.error?.code, "UserAlreadyExists");

async function* users(): AsyncGenerator<components["schemas"]["User"]> {
  let cursor: string | undefined;
  do {
    const { data, response } = await client.GET("/users", { params: { query: { limit: 1, cursor } } });
    yield* data ?? [];
    cursor = response.headers.get("link")?.match(/[?&]cursor=([^&>]+)/)?.[1];
  } while (cursor);
}
const found: string[] = [];
for await (const user of users()) found.push(user.id);
assert.deepEqual(found.sort(), ids);

const params = { path: { id: "a/b" } };
const read = await client.GET("/users/{id}", { params });
assert.deepEqual(read.data, { id: "a/b", email: "ada+1@example.com", ...extra });
const body = { ...read.data, title: "Countess" };
const replaced = await client.PUT("/users/{id}", { params, body });
assert.deepEqual(replaced.data, body);

for (const id of ids) {
  const deleted = await client.DELETE("/users/{id}", { params: { path: { id } } });
  assert.equal(deleted.data?.id, id);
}
const missing = await client.GET("/users/{id}", { params });
assert.equal(missing.error?.code, "UserNotFound");
console.log("openapi-typescript: works");
