include $(sort $(wildcard $(BR2_EXTERNAL_RACKBERRY_PATH)/package/*/*.mk))
