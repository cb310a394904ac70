window.ui = SwaggerUIBundle({
  url: "/openapi.yaml",
  dom_id: "#swagger-ui",
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // Otherwise, Swagger UI sends specifications to a validator on the internet.
  validatorUrl: null,
});
