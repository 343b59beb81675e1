// node-oidc-provider with its in-memory adapter: `node server.mjs PORT`. Prints a line of JSON when it listens.
import { randomBytes } from "node:crypto";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const [id, secret] = ["backend", randomBytes(32).toString("base64url")];
const day = 86_400;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: id,
      client_secret: secret,
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: ["https://app.example.com/callback"],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  cookies: { keys: [randomBytes(32).toString("hex")] },
  features: { devInteractions: { enabled: false }, introspection: { enabled: true } },
  findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  rotateRefreshToken: true,
  routes: { token: "/oauth2/token", introspection: "/oauth2/introspect" },
  scopes: ["openid", "offline_access", "read"],
  ttl: { AccessToken: day, Grant: day, RefreshToken: day },
});
const client = await provider.Client.find(id);

// Its adapter stores a thousand entries at most. Without the scope openid it signs no ID token.
async function tokens(accountId) {
  const grant = new provider.Grant({ accountId, clientId: id });
  grant.addOIDCScope("offline_access read");
  const fields = { accountId, client, grantId: await grant.save(), gty: "authorization_code", scope: "offline_access read" };
  return [await new provider.AccessToken(fields).save(), await new provider.RefreshToken(fields).save()];
}

const made = await Promise.all(Array.from({ length: 64 }, (_, number) => tokens(`user-${number}`)));
const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
provider.listen(port, "127.0.0.1", () => {
  const paths = { introspect: [port, "/oauth2/introspect"], token: [port, "/oauth2/token"], form: "" };
  const [access, refresh] = [made.map(([token]) => token), made.map(([, token]) => token)];
  console.log(JSON.stringify({ ...paths, authorization, access, refresh }));
});
