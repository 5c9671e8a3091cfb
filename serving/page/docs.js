// Swagger UI comes with BentoML; without it the document itself is shown.
"use strict";
if (window.SwaggerUIBundle) SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
else location.replace("/openapi.json");
