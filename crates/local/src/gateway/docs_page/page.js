// The key of this run. Without one, the service needs none.
const { key } = document.body.dataset;
const dark = matchMedia("(prefers-color-scheme: dark)");
const followSystem = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followSystem);
followSystem();

// Swagger UI parses and formats JSON. With this, numbers that do not fit in a float keep their digits.
const { parse } = JSON;
if (JSON.rawJSON) {
  const exact = (_, value, { source }) =>
    typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value;
  JSON.parse = (text, reviver) => parse(text, reviver ?? exact);
}

// The specification is for all stages. This service needs this run's key, or nothing.
const adapt = (specification) => {
  const { components, security, ...rest } = specification;
  const { securitySchemes: { api_key }, ...others } = components;
  if (!key) return { ...rest, components: others };
  return { ...rest, components: { ...others, securitySchemes: { api_key } }, security: [{ api_key: [] }] };
};

// Shows a link to the next page below a page of a list.
const nextPage = (Original, { React, specActions }) => (props) => {
  const { path, method, response } = props;
  const cursor = response?.getIn(["headers", "link"])?.match(/[?&]cursor=([^&>]+)/)?.[1];
  const follow = (event) => {
    const button = event.target.closest(".opblock").querySelector(".execute");
    event.preventDefault();
    specActions.changeParam([path, method], "cursor", "query", cursor);
    setTimeout(() => button.click());
  };
  const link = cursor && React.createElement(
    "a", { className: "next-page", href: "#next", onClick: follow }, "Next page",
  );
  return React.createElement("div", null, React.createElement(Original, props), link);
};

const ui = SwaggerUIBundle({
  url: "/openapi.yaml",
  dom_id: "#swagger-ui",
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // Otherwise, Swagger UI sends specifications to a validator on the internet.
  validatorUrl: null,
  plugins: [{
    statePlugins: {
      spec: { wrapActions: { updateJsonSpec: (original) => (json) => original(adapt(json)) } },
    },
    wrapComponents: { liveResponse: nextPage },
  }],
  onComplete: () => key && ui.preauthorizeApiKey("api_key", key),
});

// Asks before Swagger UI notices the click.
document.addEventListener("click", (event) => {
  const server = ui.getSystem().oas3Selectors.selectedServer();
  if (
    event.target.closest('[id$="-deleteAllUsers"] .execute') &&
    !confirm(`Delete ALL users at ${new URL(server, location)}?`)
  ) {
    event.stopPropagation();
  }
}, true);

document.addEventListener("click", ({ target }) => {
  if (!target.closest("button, a, select, textarea, .example")) {
    target.closest(".response[data-code]")?.classList.toggle("open");
  }
});

const samples = document.querySelector("#samples");
samples.querySelector("button").addEventListener("click", async () => {
  const names = ["Ada Lovelace", "Alan Turing", "Barbara Liskov", "Grace Hopper", "Radia Perlman"];
  const statuses = await Promise.all(names.map(async (name, index) => {
    const id = name.toLowerCase().replace(" ", ".");
    const user = { id, email: `${id}@example.com`, name, active: index % 2 === 0, roles: ["reader"] };
    const url = `${ui.specSelectors.specJson().getIn(["servers", 0, "url"])}/users`;
    const headers = { "content-type": "application/json", ...(key && { "x-api-key": key }) };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(user) });
    return response.status;
  }));
  const added = statuses.filter((status) => status === 200).length;
  const present = statuses.filter((status) => status === 400).length;
  const failed = statuses.length - added - present;
  samples.querySelector("output").textContent =
    `Added ${added}; ${present} existed already${failed ? `; ${failed} failed` : ""}.`;
});
