//! Administration of the registered clients.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Result};
use crate::domain::access::TokenFormat;
use crate::domain::caller::{Administer, Granted, Inspect};
use crate::domain::client::{Client, ClientKind, Grant, Permission, distinct};
use crate::domain::cutoff::CutOffs;
use crate::domain::event::{Event, EventKind, Reach};
use crate::domain::id::{ClientId, Hash};
use crate::domain::names::ENGINE;
use crate::domain::policy::LIFETIME_MAX;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::Decision;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::token::client_secret::{client_secret, hash_client_secret};
use crate::token::opaque::SecretText;

/// The settings of a client. Absent ones stay as they are, or get their default at a creation.
#[derive(Clone, Debug, Default)]
pub struct ClientFields {
    /// Whether it has a secret; cannot be changed.
    pub kind: Option<ClientKind>,
    pub permissions: Option<Vec<Permission>>,
    /// The grants it may use.
    pub grants: Option<Vec<Grant>>,
    /// The scopes that it may request.
    pub scopes: Option<Vec<String>>,
    /// The audiences that it may request.
    pub audiences: Option<Vec<String>>,
    /// The resources that it serves.
    pub serves: Option<Vec<String>>,
    /// The clients that it may open sessions for.
    pub opens_for: Option<Vec<String>>,
    /// The name of its policy.
    pub policy: Option<String>,
    /// The form of its access tokens.
    pub access_token_format: Option<TokenFormat>,
    /// Whether its requests are rejected and its tokens inactive.
    pub disabled: Option<bool>,
}

/// A client, and its secret if one was just generated.
pub struct WithSecret {
    pub client: Client,
    /// Shown once; `None` for a public client.
    pub secret: Option<SecretText>,
}

impl<S: Store> Engine<S> {
    /// Registers a client, with a random identifier if `id` is absent.
    ///
    /// # Errors
    /// `Conflict` when the identifier is in use; `Invalid`, naming a field.
    pub async fn create_client(
        &self,
        caller: &Granted<Administer>,
        id: Option<ClientId>,
        fields: ClientFields,
    ) -> Result<WithSecret> {
        let id = id.unwrap_or_else(|| self.random_client_id());
        let now = self.clock.now().wall;
        let secret = (fields.kind != Some(ClientKind::Public)).then(|| client_secret(&self.clock.random()));
        let hash = secret.as_ref().map(hash_of);
        let client = self.apply(Client::new(id.clone(), hash, now), &fields)?;
        let (event, format) =
            (about(&client, EventKind::ClientCreated, now, caller.name()), client.access_token_format);
        self.prepare_keys(format).await?;
        let who = caller.clone();
        let created = self.try_update_client(id, move |stored, cuts| {
            who.check_current(cuts)?;
            if stored.is_some() {
                return Err(Refusal::Conflict.because("client_id is in use; choose another"));
            }
            Ok(Decision::with_events(stored.insert(client.clone()).clone(), vec![event.clone()]))
        });
        let client = created.await?;
        self.prepare_keys(format).await?;
        Ok(WithSecret { client, secret })
    }

    /// One client.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn client(&self, _: &Granted<Inspect>, id: &ClientId) -> Result<Arc<Client>> {
        self.registered(id)
    }

    fn registered(&self, id: &ClientId) -> Result<Arc<Client>> {
        Ok(self.store.registry().cuts.registered.get(id).cloned().ok_or_else(no_such_client)?)
    }

    /// At most `limit` clients after `after`, in order of their identifiers, and the cursor to continue from
    /// if there are more.
    pub fn clients(
        &self,
        _: &Granted<Inspect>,
        after: Option<&ClientId>,
        limit: usize,
    ) -> Result<(Vec<Arc<Client>>, Option<ClientId>)> {
        let registry = self.store.registry();
        let mut clients: Vec<_> = registry
            .cuts
            .registered
            .values()
            .filter(|client| after.is_none_or(|after| client.id > *after))
            .cloned()
            .collect();
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        let more = clients.len() > limit;
        clients.truncate(limit);
        let next = clients.last().filter(|_| more).map(|client| client.id.clone());
        Ok((clients, next))
    }

    /// Changes a client; absent fields stay as they are.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a declared client; `Invalid`, naming
    /// a field.
    pub async fn change_client(
        &self,
        caller: &Granted<Administer>,
        id: ClientId,
        fields: ClientFields,
    ) -> Result<Client> {
        let now = self.clock.now().wall;
        // Checked outside the transaction, where the policies are known. The transaction applies the same
        // fields to the client as it is then.
        let current = self.registered(&id)?;
        if fields.kind.is_some_and(|kind| kind != current.kind) {
            return Err(Refused::invalid(
                "kind",
                "cannot be changed: delete the client and register it again",
            )
            .into());
        }
        self.prepare_keys(self.apply((*current).clone(), &fields)?.access_token_format).await?;
        let changed = self.change(caller, id, now, move |client| {
            apply_fields(client.clone(), &fields).map(|changed| *client = changed)
        });
        let client = changed.await?;
        self.prepare_keys(client.access_token_format).await?;
        Ok(client)
    }

    /// Gives a client a new secret. The old one stays valid for `keep_old_for`.
    ///
    /// # Errors
    /// As for a change; `Invalid` for a public client, which has none.
    pub async fn rotate_secret(
        &self,
        caller: &Granted<Administer>,
        id: ClientId,
        keep_old_for: Duration,
    ) -> Result<WithSecret> {
        if keep_old_for > LIFETIME_MAX {
            return Err(Refused::invalid("keep_old_for", "must be at most 400d").into());
        }
        let now = self.clock.now().wall;
        let secret = client_secret(&self.clock.random());
        let hash = hash_of(&secret);
        let client = self.change(caller, id, now, move |client| {
            if client.kind == ClientKind::Public {
                return Err(Refused::invalid("kind", "must be confidential: a public client has no secret"));
            }
            client.replace_secret(hash, keep_old_for, now);
            Ok(())
        });
        Ok(WithSecret { client: client.await?, secret: Some(secret) })
    }

    /// Ends the access tokens that the client itself got by `client_credentials`. Also for a declared client:
    /// no setting changes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_client_tokens(&self, caller: &Granted<Administer>, id: ClientId) -> Result<()> {
        let (now, who) = (self.clock.now().wall, caller.clone());
        let revoked = self.try_update_client(id, move |stored, cuts| {
            who.check_current(cuts)?;
            let client = stored.as_mut().ok_or_else(no_such_client)?;
            Ok(Decision::with_events((), vec![end_own_tokens(client, cuts, now, who.name())]))
        });
        revoked.await
    }

    /// Deletes a client, and ends by a cut-off all that was issued to it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a declared client.
    pub async fn delete_client(&self, caller: &Granted<Administer>, id: ClientId) -> Result<()> {
        let (now, who) = (self.clock.now().wall, caller.clone());
        let deleted = self.try_update_client(id, move |stored, cuts| {
            who.check_current(cuts)?;
            let event = about(changeable(stored)?, EventKind::ClientDeleted, now, who.name());
            *stored = None;
            Ok(Decision::with_events((), vec![event]))
        });
        deleted.await
    }

    /// Registers the administrator of a new store with this secret; changes nothing if the client exists.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn create_administrator(&self, id: ClientId, secret: Hash) -> Result<bool> {
        let now = self.clock.now().wall;
        let client = Client {
            permissions: vec![Permission::Admin],
            grants: vec![Grant::RefreshToken, Grant::ClientCredentials],
            ..Client::new(id.clone(), Some(secret), now)
        };
        let event = about(&client, EventKind::ClientCreated, now, ENGINE);
        let created = self.store.update_client(id, move |stored, _| {
            if stored.is_some() {
                return Decision::answer(false);
            }
            *stored = Some(client.clone());
            Decision::with_events(true, vec![event.clone()])
        });
        Ok(created.await?)
    }

    /// Applies the clients that the configuration file declares: they are registered once, updated in place,
    /// and disabled when they are removed from the file.
    ///
    /// # Errors
    /// `Invalid` naming a field; `Conflict` when a name was registered through the API; a store that cannot
    /// write.
    pub async fn declare_clients(&self, declared: Vec<Client>) -> Result<()> {
        let now = self.clock.now().wall;
        let registry = self.store.registry();
        let gone = registry
            .cuts
            .registered
            .values()
            .filter(|client| client.declared && declared.iter().all(|other| other.id != client.id));
        for client in gone {
            tracing::warn!(
                client = client.id.as_str(),
                "a declared client was removed from the configuration: it is disabled"
            );
            let leave = move |stored: &mut Option<Client>, _: &_| match stored {
                Some(client) => {
                    (client.declared, client.disabled, client.updated_at) = (false, true, now);
                    Decision::with_events((), vec![about(client, EventKind::ClientUpdated, now, ENGINE)])
                }
                None => Decision::answer(()),
            };
            self.store.update_client(client.id.clone(), leave).await?;
        }
        for client in declared {
            client.validate()?;
            self.declare(client, now).await?;
        }
        self.prepare_all_keys().await
    }

    async fn declare(&self, target: Client, now: Timestamp) -> Result<()> {
        let id = target.id.clone();
        let declared = self.try_update_client(id, move |stored, cuts| {
            let mut wanted = Client { declared: true, ..target.clone() };
            let events = match stored {
                Some(client) => {
                    client.check_declare()?;
                    (wanted.created_at, wanted.updated_at) = (client.created_at, client.updated_at);
                    (wanted.incarnation, wanted.tokens_from) = (client.incarnation, client.tokens_from);
                    if *client == wanted {
                        return Ok(Decision::answer(()));
                    }
                    wanted.updated_at = now;
                    replace(client, wanted, cuts, now, ENGINE)
                }
                None => {
                    let created = about(&wanted, EventKind::ClientCreated, now, ENGINE);
                    *stored = Some(wanted);
                    vec![created]
                }
            };
            Ok(Decision::with_events((), events))
        });
        declared.await
    }

    /// Runs a decision on a client that may refuse.
    async fn try_update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> std::result::Result<Decision<T>, Refused>
        + Send
        + 'static,
    ) -> Result<T> {
        let decide = move |stored: &mut Option<Client>, cuts: &CutOffs| Decision::of(decide(stored, cuts));
        Ok(self.store.update_client(id, decide).await??)
    }

    async fn change(
        &self,
        caller: &Granted<Administer>,
        id: ClientId,
        now: Timestamp,
        change: impl Fn(&mut Client) -> std::result::Result<(), Refused> + Send + 'static,
    ) -> Result<Client> {
        let who = caller.clone();
        let changed = self.try_update_client(id, move |stored, cuts| {
            who.check_current(cuts)?;
            let client = changeable(stored)?;
            let mut wanted = client.clone();
            change(&mut wanted)?;
            wanted.updated_at = now;
            let events = replace(client, wanted, cuts, now, who.name());
            Ok(Decision::with_events(client.clone(), events))
        });
        changed.await
    }

    /// Applies fields, and checks that the configuration has the policy.
    fn apply(&self, client: Client, fields: &ClientFields) -> std::result::Result<Client, Refused> {
        let client = apply_fields(client, fields)?;
        if !self.rules.policies.contains_key(&*client.policy) {
            let known: Vec<&str> = self.rules.policies.keys().map(String::as_str).collect();
            return Err(Refused::invalid(
                "policy",
                format!("must be one of the configured policies: {}", known.join(", ")),
            ));
        }
        Ok(client)
    }

    fn random_client_id(&self) -> ClientId {
        let hex: String = self.clock.random::<10>().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.parse().expect("hexadecimal digits are valid in a client_id")
    }
}

/// Puts `wanted` in place of `client`. The events: its own tokens may end with the change.
fn replace(client: &mut Client, mut wanted: Client, cuts: &CutOffs, now: Timestamp, by: &str) -> Vec<Event> {
    let ended = wanted.ends_own_tokens_of(client).then(|| end_own_tokens(&mut wanted, cuts, now, by));
    let updated = updated(client, &wanted, now, by);
    *client = wanted;
    ended.into_iter().chain([updated]).collect()
}

/// Ends the client's own tokens that were issued before the returned event, which must be the next of the
/// log.
fn end_own_tokens(client: &mut Client, cuts: &CutOffs, now: Timestamp, by: &str) -> Event {
    client.tokens_from = cuts.head.next();
    about(client, EventKind::ClientTokensRevoked, now, by)
}

fn apply_fields(mut client: Client, fields: &ClientFields) -> std::result::Result<Client, Refused> {
    let fields = fields.clone();
    client.kind = fields.kind.unwrap_or(client.kind);
    client.permissions = fields.permissions.map_or(client.permissions, distinct);
    client.grants = fields.grants.map_or(client.grants, distinct);
    if let Some(scopes) = fields.scopes {
        client.scopes = scopes.join(" ").parse().map_err(|_| {
            Refused::invalid(
                "scopes",
                "must be names without spaces, quotes or backslashes, 2048 bytes in all",
            )
        })?;
    }
    let boxed = |list: Vec<String>| list.into_iter().map(Into::into).collect();
    client.audiences = fields.audiences.map_or(client.audiences, boxed);
    client.serves = fields.serves.map_or(client.serves, boxed);
    if let Some(names) = fields.opens_for {
        let parsed: std::result::Result<_, _> = names.iter().map(|name| name.parse()).collect();
        client.opens_for =
            parsed.map_err(|_| Refused::invalid("opens_for", "must be a list of client_ids"))?;
    }
    client.policy = fields.policy.map_or(client.policy, Into::into);
    client.access_token_format = fields.access_token_format.unwrap_or(client.access_token_format);
    client.disabled = fields.disabled.unwrap_or(client.disabled);
    client.validate()?;
    Ok(client)
}

fn about(client: &Client, kind: EventKind, at: Timestamp, by: &str) -> Event {
    let parties = vec![(client.id.as_str().into(), client.incarnation)];
    let reach = Some(Reach { parties, audiences: client.audiences.clone() });
    Event { client: Some(client.id.clone()), reach, ..Event::new(kind, at, by) }
}

/// Also reaches those who serve an audience that the client has no longer: there are tokens for it.
fn updated(before: &Client, after: &Client, at: Timestamp, by: &str) -> Event {
    let mut event = about(after, EventKind::ClientUpdated, at, by);
    if let Some(reach) = &mut event.reach {
        before.audiences.iter().for_each(|audience| reach.add_audience(audience));
    }
    event
}

fn hash_of(secret: &SecretText) -> Hash {
    hash_client_secret(secret.expose()).expect("a secret that was just generated has the right form")
}

fn no_such_client() -> Refused {
    Refusal::NotFound.because("there is no such client")
}

/// The client, if the API may change it.
fn changeable(stored: &mut Option<Client>) -> std::result::Result<&mut Client, Refused> {
    match stored {
        Some(client) if client.declared => {
            Err(Refusal::Conflict
                .because("the client is declared in the configuration file; change it there"))
        }
        Some(client) => Ok(client),
        None => Err(no_such_client()),
    }
}
