// Compiles every component schema and every schema of a request or an answer with Ajv.
const Ajv = require("ajv");
const document = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));
const ajv = new Ajv({ strict: false, validateFormats: false });
ajv.addSchema(document, "document");
let compiled = 0;
const escape = (part) => encodeURIComponent(part.replace(/~/g, "~0").replace(/\//g, "~1"));
const walk = (value, path) => {
  if (value === null || typeof value !== "object") return;
  for (const [name, inner] of Object.entries(value)) {
    const at = `${path}/${escape(name)}`;
    if (name === "schema" || path.endsWith("/components/schemas")) {
      ajv.compile({ $ref: `document#${at}` });
      compiled += 1;
    }
    if (name !== "example" && name !== "examples") walk(inner, at);
  }
};
walk(document, "");
if (compiled < 40) throw new Error(`only ${compiled} schemas were found`);
console.log(`${compiled} schemas`);
