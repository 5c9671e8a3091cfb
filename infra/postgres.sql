-- Run once, when the volume is empty: a database for each server that keeps its state here.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
