// Shows the OpenAPI document; requests tried on the page carry the session's CSRF token.

const csrf = document.querySelector('meta[name="csrf-token"]').content;

window.SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const local = new URL(request.url, location.href).origin === location.origin;
    if (csrf && local) request.headers["X-CSRF-Token"] = csrf;
    return request;
  },
});
