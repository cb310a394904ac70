// Makes a generated collection harmless: whoever runs all of it deletes only the user that it
// created. Reads and writes the file that is named on the command line.
import fs from "node:fs";

const file = process.argv[2];
const collection = JSON.parse(fs.readFileSync(file, "utf8"));
const requests = collection.item.flatMap((folder) => folder.item);
const named = (name) => {
  const request = requests.find((request) => request.name === name);
  if (!request) throw new Error(`the collection has no request '${name}'`);
  return request;
};

// The other requests are about the user that this one creates, under a new id.
const create = named("Create a user");
create.request.body.raw = JSON.stringify({ email: "ada@example.com", name: "Ada Lovelace" }, null, 2);
const remember = 'pm.collectionVariables.set("id", pm.response.json().id);';
create.event = [{ listen: "test", script: { type: "text/javascript", exec: [remember] } }];
for (const { request } of requests) {
  for (const variable of request.url.variable) variable.value = "{{id}}";
}

// Until the variable `all` is `users`, the request that deletes everyone has the path of nothing.
const deleteAll = named("Delete all users");
deleteAll.request.url.path = ["{{all}}"];
deleteAll.request.description = "Deletes everyone. First set the variable `all` to `users`.";
for (const folder of collection.item) {
  folder.item = folder.item.filter((request) => request !== deleteAll);
}
collection.item.push({ name: "deletes everyone", item: [deleteAll] });
collection.variable.push({ key: "id", value: "nobody" }, { key: "all", value: "nobody" });

fs.writeFileSync(file, `${JSON.stringify(collection, null, 2)}\n`);
