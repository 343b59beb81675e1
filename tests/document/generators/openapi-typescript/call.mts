import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const client = createClient<paths>({
  baseUrl: process.env.KEYFOB_URL,
  headers: { Authorization: `Basic ${process.env.KEYFOB_BASIC}` },
});
const opened = await client.POST("/v1/sessions", { body: { subject: "alice", claims: { tier: "gold" } } });
if (!opened.data) throw new Error(JSON.stringify(opened.error));
const read = await client.GET("/v1/sessions/{id}", { params: { path: { id: opened.data.session.id } } });
const claims: { [name: string]: unknown } | undefined = read.data?.claims;
console.log(claims?.tier);
