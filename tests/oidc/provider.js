// SPDX-License-Identifier: Apache-2.0
// An OpenID Connect provider for tests: whoever types a name is that person, and may have any password.
import Provider from "oidc-provider";

const [port, redirect, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "holdfast",
      client_secret: secret,
      redirect_uris: [redirect],
      grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    },
    {
      client_id: "pipeline",
      client_secret: "a-secret-of-a-pipeline",
      redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
    },
  ],
  claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"], email: ["email"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["only", "for", "tests"] },
  pkce: { required: () => true },
  scopes: ["openid", "profile", "email", "storage.read:/", "storage.modify:/", "storage.read:/one/path"],
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_, client) => (client.clientId === "pipeline" ? "https://archive.example.org" : undefined),
      getResourceServerInfo: (_, resource) => ({
        scope: "storage.read:/ storage.modify:/ storage.read:/one/path",
        audience: resource,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  async extraTokenClaims(_, token) {
    return token.clientId === "pipeline" ? { sub: "pipeline", "wlcg.groups": ["/cta"] } : {};
  },
  async findAccount(_, name) {
    return {
      accountId: name,
      claims: () => ({
        sub: name,
        name: `Dr ${name}`,
        preferred_username: name,
        email: `${name}@example.org`,
        groups: ["urn:staff", `urn:proposal:${name}`],
      }),
    };
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
