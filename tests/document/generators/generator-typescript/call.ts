import { Configuration, SessionsApi } from "./generated";

const sessions = new SessionsApi(new Configuration({
  basePath: process.env.KEYFOB_URL, username: "app", password: process.env.KEYFOB_SECRET,
}));

async function main() {
  const opened = await sessions.openSession({ openSessionBody: { subject: "alice", claims: { tier: "gold" } } });
  const read = await sessions.readSession({ id: opened.session.id });
  console.log(read.claims.tier);
}

main().catch((error) => { console.error(error); process.exit(1); });
