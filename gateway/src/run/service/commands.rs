//! Requests of the fleet and REST services.

use callmeter_proto::fleet;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Entry, RunService, RunServiceError};
use crate::definition::{self, Format};
use crate::link::{PoolRegistration, RunCommand, RunError, SubmitRun};
use crate::results::RunResults;
use crate::run::{Run, RunIdentity, view};
use crate::sessions;
use crate::store::{NewRun, StoreError};

impl RunService {
    pub(super) async fn command(&mut self, command: RunCommand) -> Result<(), RunServiceError> {
        // Whoever asked and is gone needs no answer.
        match command {
            RunCommand::Submit(request, reply) => {
                let answer = self.submit(request).await?;
                let _ = reply.send(answer);
            }
            RunCommand::Stop {
                organisation,
                run,
                reason,
                reply,
            } => {
                let answer = self.stop(&organisation, &run, &reason).await?;
                let _ = reply.send(answer);
            }
            RunCommand::Watch {
                organisation,
                run,
                reply,
            } => {
                let answer = self.watch(&organisation, &run).await?;
                let _ = reply.send(answer);
            }
            RunCommand::UpsertPool(pool, reply) => {
                let answer = self.upsert_pool(pool).await?;
                let _ = reply.send(answer);
            }
            RunCommand::DeletePool {
                organisation,
                key,
                reply,
            } => {
                self.store.delete_pool(&organisation, &key).await?;
                self.pools.remove(&(organisation, key));
                self.schedule = true;
                let _ = reply.send(Ok(()));
            }
        }
        Ok(())
    }

    async fn submit(
        &mut self,
        request: SubmitRun,
    ) -> Result<Result<String, RunError>, RunServiceError> {
        let SubmitRun {
            organisation,
            key,
            project,
            namespace,
            name,
            definition_json,
        } = request;
        let parsed = definition::parse(definition_json.expose(), Format::Json, &namespace);
        let (test, inline, spec) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err(RunError::Invalid(error.to_string()))),
        };
        let project = match self.project(&organisation, project).await? {
            Ok(project) => project,
            Err(error) => return Ok(Err(error)),
        };
        let tenant = self.store.tenant(&organisation);
        let now = sessions::now();
        let accounts = if inline.is_empty() {
            None
        } else {
            Some(self.seal.seal(inline.to_sealed_form().as_bytes())?)
        };
        let new = NewRun {
            id: Uuid::new_v4().to_string(),
            project: project.clone(),
            key,
            namespace: namespace.clone(),
            name: name.clone(),
            definition: serde_json::to_string(&spec).unwrap_or_default(),
            accounts,
            warnings: serde_json::to_string(&definition::warnings(&test)).unwrap_or_default(),
            created_ms: now.unix_ms,
        };
        let (id, made) = tenant.insert_run(&new).await?;
        if made {
            let created_ms = now.unix_ms;
            let identity = RunIdentity {
                id: id.clone(),
                organisation,
                project,
                namespace,
                name,
                created_ms,
            };
            tracing::info!(run = %id, name = %identity.name, "run submitted");
            let results = RunResults::new(test.groups.iter().map(|g| (g.endpoints, g.role)));
            let run = Run::new(identity, test, now);
            let state = watch::Sender::new(run.state(&results, &[], ""));
            let shown = run.status();
            self.runs.insert(
                id.clone(),
                Entry {
                    run,
                    results,
                    inline,
                    state,
                    late: false,
                    shown,
                },
            );
            self.schedule = true;
        }
        Ok(Ok(id))
    }

    async fn stop(
        &mut self,
        organisation: &str,
        run: &str,
        reason: &str,
    ) -> Result<Result<(), RunError>, StoreError> {
        if let Some(entry) = self.entry_of(organisation, run) {
            entry.run.stop(reason, sessions::now());
            self.touched.insert(run.to_owned());
            self.schedule = true;
            return Ok(Ok(()));
        }
        let known = self.store.tenant(organisation).run(run).await?;
        Ok(known.map(|_| ()).ok_or_else(|| RunError::no_run(run)))
    }

    async fn watch(
        &mut self,
        organisation: &str,
        run: &str,
    ) -> Result<Result<watch::Receiver<fleet::RunState>, RunError>, StoreError> {
        if let Some(entry) = self.entry_of(organisation, run) {
            return Ok(Ok(entry.state.subscribe()));
        }
        let known = self.store.tenant(organisation).run(run).await?;
        let state = known.as_ref().map(view::state_of_record);
        Ok(state
            .map(|state| watch::Sender::new(state).subscribe())
            .ok_or_else(|| RunError::no_run(run)))
    }

    async fn upsert_pool(
        &mut self,
        pool: PoolRegistration,
    ) -> Result<Result<(), RunError>, StoreError> {
        let now = sessions::now();
        let named = pool
            .key
            .split_once('/')
            .is_some_and(|(ns, name)| !ns.is_empty() && !name.is_empty());
        if !named {
            let message = format!("pool key: \"{}\"; accepted: namespace/name", pool.key);
            return Ok(Err(RunError::Invalid(message)));
        }
        let project = match self
            .project(&pool.organisation, pool.project.clone())
            .await?
        {
            Ok(project) => project,
            Err(error) => return Ok(Err(error)),
        };
        let pool = PoolRegistration { project, ..pool };
        self.store.upsert_pool(&pool, now.unix_ms).await?;
        let key = (pool.organisation.clone(), pool.key.clone());
        let before = self.pools.insert(key, (pool.clone(), now.instant));
        self.schedule |= before.is_none_or(|(before, _)| before != pool);
        Ok(Ok(()))
    }

    /// A project of the organisation; empty: its default one.
    async fn project(
        &self,
        organisation: &str,
        project: String,
    ) -> Result<Result<String, RunError>, StoreError> {
        let project = if project.is_empty() {
            crate::store::DEFAULT_PROJECT.to_owned()
        } else {
            project
        };
        let projects = self.store.tenant(organisation).projects().await?;
        if projects.contains(&project) {
            return Ok(Ok(project));
        }
        let shown: String = project.chars().take(64).collect();
        let accepted = projects.join(", ");
        Ok(Err(RunError::Invalid(format!(
            "project: \"{shown}\"; accepted: {accepted}"
        ))))
    }

    fn entry_of(&mut self, organisation: &str, run: &str) -> Option<&mut Entry> {
        self.runs
            .get_mut(run)
            .filter(|entry| entry.run.identity().organisation == organisation)
    }
}
