# Tasks of a developer. Recipes are one line; what takes more is a script.
.PHONY: kafka kafka-stop

kafka: ## A local Apache Kafka broker for tests (needs Java and Maven)
	deploy/kafka/kafka.sh start

kafka-stop: ## Ends it
	deploy/kafka/kafka.sh stop
