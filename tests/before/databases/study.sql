BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'kept');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'cnnlab:identity','{"config": {"data": {"dataset": "digits", "root": null, "batch_size": 16, "val_fraction": 0.1, "train_size": 200, "resize": null, "augment": [], "skip_broken": false, "residence": "auto", "workers": 2}, "model": {"name": "cnn", "channels": [4], "kernel_size": 3, "stride": 1, "padding": "same", "pool": "max", "activation": "relu", "norm": "none", "init": "default", "hidden": [8], "dropout": 0.0}, "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 0.0, "momentum": 0.9, "nesterov": false, "dampening": 0.0}, "schedule": {"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.0}, "loss": {"name": "cross_entropy", "label_smoothing": 0.0}, "training": {"epochs": 20, "seed": 0, "precision": "fp32", "clip_norm": null, "accumulate": 1, "patience": null, "checkpoint_every": null}}, "space": {"optimizer.lr": {"path": "optimizer.lr", "domain": {"low": 0.001, "high": 1.0, "log": true}}, "data.batch_size": {"path": "data.batch_size", "domain": [16, 32]}}, "sampler": "tpe", "pruner": "median", "seeds": 2}');
INSERT INTO "study_user_attributes" VALUES(2,1,'cnnlab:asked','{"trials": 4, "confirm": 0, "confirm_seeds": 3, "experiment": "cnnlab", "tracking_uri": "none"}');
INSERT INTO "study_user_attributes" VALUES(3,1,'cnnlab:parent_run_id','"20261125-095426-digits-cnn-ac89"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,1.67832167832167838961e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,4.33566433566433540036e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,3,5.1748251748251750115e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,1,4,5.73426573426573438219e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,1,5,6.43356643356643331799e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,1,6,6.783216783216783341e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,1,7,7.27272727272727292913e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,1,8,7.55244755244755205936e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,1,9,7.62237762237762184192e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,1,10,7.83216783216783229981e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,1,11,7.62237762237762184192e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,1,12,7.90209790209790208237e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,1,13,7.90209790209790208237e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,1,14,7.83216783216783229981e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,1,15,7.90209790209790208237e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,1,16,7.83216783216783229981e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,1,17,7.83216783216783229981e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,1,18,7.76223776223776251725e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,1,19,7.76223776223776251725e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,1,20,7.76223776223776251725e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,2,1,7.6923076923076927347e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(22,2,2,1.04895104895104895881e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(23,2,3,1.04895104895104895881e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(24,2,4,1.39860139860139870426e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(25,2,5,1.53846153846153854694e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(26,2,6,2.09790209790209791762e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(27,2,7,3.42657342657342656178e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(28,2,8,3.9160839160839161499e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(29,2,9,4.89510489510489532616e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(30,2,10,5.1748251748251750115e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(31,2,11,5.45454545454545414173e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(32,2,12,5.45454545454545414173e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(33,2,13,5.80419580419580416474e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(34,2,14,5.8741258741258739473e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(35,2,15,6.01398601398601351242e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(36,2,16,6.15384615384615418776e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(37,2,17,6.22377622377622397031e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(38,2,18,6.22377622377622397031e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(39,2,19,6.22377622377622397031e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(40,2,20,6.22377622377622397031e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(41,3,1,5.59440559440559440074e-02,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'optimizer.lr',0.05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'data.batch_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(3,2,'optimizer.lr',4.48562326156037340096e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(4,2,'data.batch_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
INSERT INTO "trial_params" VALUES(5,3,'optimizer.lr',2.37091914178665227538e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(6,3,'data.batch_size',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 32]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"optimizer.lr": 0.05, "data.batch_size": 16}');
INSERT INTO "trial_system_attributes" VALUES(2,2,'fixed_params','{}');
INSERT INTO "trial_system_attributes" VALUES(3,3,'fixed_params','{}');
INSERT INTO "trial_system_attributes" VALUES(4,4,'fixed_params','{}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'cnnlab:slot','0');
INSERT INTO "trial_user_attributes" VALUES(2,1,'cnnlab:attempt','0');
INSERT INTO "trial_user_attributes" VALUES(3,2,'cnnlab:slot','1');
INSERT INTO "trial_user_attributes" VALUES(4,2,'cnnlab:attempt','0');
INSERT INTO "trial_user_attributes" VALUES(5,1,'cnnlab:owner','{"host": "@HOST@", "pid": 26810, "started": "295882", "beat": 1}');
INSERT INTO "trial_user_attributes" VALUES(6,1,'cnnlab:config','{"name": null, "data": {"dataset": "digits", "root": null, "batch_size": 16, "val_fraction": 0.1, "train_size": 200, "resize": null, "augment": [], "skip_broken": false, "residence": "auto", "workers": 2}, "model": {"name": "cnn", "channels": [4], "kernel_size": 3, "stride": 1, "padding": "same", "pool": "max", "activation": "relu", "norm": "none", "init": "default", "hidden": [8], "dropout": 0.0}, "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 0.0, "momentum": 0.9, "nesterov": false, "dampening": 0.0}, "schedule": {"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.0}, "loss": {"name": "cross_entropy", "label_smoothing": 0.0}, "training": {"epochs": 20, "seed": 0, "device": "auto", "threads": 1, "precision": "fp32", "clip_norm": null, "accumulate": 1, "patience": null, "checkpoint_every": null}}');
INSERT INTO "trial_user_attributes" VALUES(7,1,'cnnlab:run_dir','"@PROJECT@/mlruns/studies/kept/trials/000"');
INSERT INTO "trial_user_attributes" VALUES(8,1,'cnnlab:scores','[0.7902097902097902, 0.8391608391608392]');
INSERT INTO "trial_user_attributes" VALUES(9,2,'cnnlab:owner','{"host": "@HOST@", "pid": 26810, "started": "295882", "beat": 1}');
INSERT INTO "trial_user_attributes" VALUES(10,2,'cnnlab:config','{"name": null, "data": {"dataset": "digits", "root": null, "batch_size": 16, "val_fraction": 0.1, "train_size": 200, "resize": null, "augment": [], "skip_broken": false, "residence": "auto", "workers": 2}, "model": {"name": "cnn", "channels": [4], "kernel_size": 3, "stride": 1, "padding": "same", "pool": "max", "activation": "relu", "norm": "none", "init": "default", "hidden": [8], "dropout": 0.0}, "optimizer": {"name": "sgd", "lr": 0.004485623261560373, "weight_decay": 0.0, "momentum": 0.9, "nesterov": false, "dampening": 0.0}, "schedule": {"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.0}, "loss": {"name": "cross_entropy", "label_smoothing": 0.0}, "training": {"epochs": 20, "seed": 0, "device": "auto", "threads": 1, "precision": "fp32", "clip_norm": null, "accumulate": 1, "patience": null, "checkpoint_every": null}}');
INSERT INTO "trial_user_attributes" VALUES(11,2,'cnnlab:run_dir','"@PROJECT@/mlruns/studies/kept/trials/001"');
INSERT INTO "trial_user_attributes" VALUES(12,3,'cnnlab:slot','2');
INSERT INTO "trial_user_attributes" VALUES(13,3,'cnnlab:attempt','0');
INSERT INTO "trial_user_attributes" VALUES(14,4,'cnnlab:slot','3');
INSERT INTO "trial_user_attributes" VALUES(15,4,'cnnlab:attempt','0');
INSERT INTO "trial_user_attributes" VALUES(16,2,'cnnlab:scores','[0.6223776223776224, 0.43356643356643354]');
INSERT INTO "trial_user_attributes" VALUES(17,3,'cnnlab:owner','{"host": "@HOST@", "pid": 26810, "started": "295882"}');
INSERT INTO "trial_user_attributes" VALUES(18,3,'cnnlab:config','{"name": null, "data": {"dataset": "digits", "root": null, "batch_size": 32, "val_fraction": 0.1, "train_size": 200, "resize": null, "augment": [], "skip_broken": false, "residence": "auto", "workers": 2}, "model": {"name": "cnn", "channels": [4], "kernel_size": 3, "stride": 1, "padding": "same", "pool": "max", "activation": "relu", "norm": "none", "init": "default", "hidden": [8], "dropout": 0.0}, "optimizer": {"name": "sgd", "lr": 0.0023709191417866523, "weight_decay": 0.0, "momentum": 0.9, "nesterov": false, "dampening": 0.0}, "schedule": {"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.0}, "loss": {"name": "cross_entropy", "label_smoothing": 0.0}, "training": {"epochs": 20, "seed": 0, "device": "auto", "threads": 1, "precision": "fp32", "clip_norm": null, "accumulate": 1, "patience": null, "checkpoint_every": null}}');
INSERT INTO "trial_user_attributes" VALUES(19,3,'cnnlab:run_dir','"@PROJECT@/mlruns/studies/kept/trials/002"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,8.14685314685314687643e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,5.27972027972027913023e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 09:54:26.430975','2026-11-25 09:54:30.719826');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 09:54:30.754301','2026-11-25 09:54:35.533931');
INSERT INTO "trials" VALUES(3,2,1,'RUNNING','2026-11-25 09:54:35.540036',NULL);
INSERT INTO "trials" VALUES(4,3,1,'WAITING',NULL,NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
