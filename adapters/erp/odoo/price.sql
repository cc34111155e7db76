with {{>company.sql}}, {{>item.sql}}, moment as (
  -- Odoo compares whole seconds
  select date_trunc('second', now() at time zone 'utc') as now
), list as (
  select l.id, coalesce(l.name ->> 'en_US', (select value from jsonb_each_text(l.name) limit 1)) as name,
         l.active, u.name as currency, u.rounding,
         l.company_id is null or company.parent_path like keeper.parent_path || '%' as ours
    from product_pricelist l join res_currency u on u.id = l.currency_id
    cross join company
    left join res_company keeper on keeper.id = l.company_id
), rule as materialized (
  select item.id as product, item.template, item.categ_id as own, r.* from item join product_pricelist_item r on r.product_id = item.id
   where r.applied_on = '0_product_variant'
  union all
  select item.id, item.template, item.categ_id, r.* from item join product_pricelist_item r on r.product_tmpl_id = item.template
   where r.applied_on = '1_product'
  union all
  select item.id, item.template, item.categ_id, r.* from item
    join product_category own on own.id = item.categ_id
    join product_pricelist_item r on r.applied_on = '2_product_category'
    join product_category c on c.id = r.categ_id and own.parent_path like c.parent_path || '%'
  union all
  select item.id, item.template, item.categ_id, r.* from item join product_pricelist_item r on r.applied_on not in
         ('0_product_variant', '1_product', '2_product_category')
), ranked as materialized (
  select rule.product, json_agg(json_build_object(
           'list', rule.pricelist_id, 'min_quantity', coalesce(rule.min_quantity, 0), 'compute', rule.compute_price,
           'base', rule.base, 'base_list', rule.base_pricelist_id, 'fixed', rule.fixed_price,
           'percent', rule.percent_price::numeric, 'discount', rule.price_discount, 'markup', rule.price_markup,
           'round', rule.price_round, 'surcharge', rule.price_surcharge,
           'min_margin', rule.price_min_margin, 'max_margin', rule.price_max_margin)
         order by rule.applied_on, rule.min_quantity desc, c.complete_name desc, rule.id desc) as rules
    from rule
    cross join moment
    left join product_category own on own.id = rule.own
    left join product_category c on c.id = rule.categ_id
   where (rule.categ_id is null or own.parent_path like c.parent_path || '%')
     and (rule.product_tmpl_id is null or rule.product_tmpl_id = rule.template)
     and (rule.product_id is null or rule.product_id = rule.product)
     and (rule.date_start is null or rule.date_start <= moment.now)
     and (rule.date_end is null or rule.date_end >= moment.now)
   group by rule.product
), every_list as materialized (
  select coalesce(json_agg(json_build_object(
           'id', list.id, 'name', list.name, 'currency', list.currency, 'rounding', list.rounding,
           'shown', {{#price_lists}}list.name = any({{price_lists}}){{/price_lists}}{{^price_lists}}true{{/price_lists}}
             and list.active and list.ours) order by list.id), '[]') as lists
    from list
), cost as materialized (
  -- what a variant has no value of its own for, a default of the company says, else one of all companies
  select (select case when d.json_value ~ '^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$' then d.json_value::numeric end
            from ir_default d join ir_model_fields f on f.id = d.field_id
           where f.model = 'product.product' and f.name = 'standard_price' and d.user_id is null
             and d.condition is null and (d.company_id is null or d.company_id = company.id)
           order by d.company_id, d.id limit 1) as usual
    from company
)
{{#currency_rates}}
, {{>rate.sql}}
{{/currency_rates}}
select item.id as key, item.sku, company.currency as money, own.rounding,
       coalesce(t.list_price, 0) + coalesce((
         select sum(v.price_extra) from product_variant_combination c
           join product_template_attribute_value v on v.id = c.product_template_attribute_value_id
          where c.product_product_id = item.id), 0) as list_price,
       case when p.standard_price ? company.key
         then coalesce(nullif(p.standard_price ->> company.key, 'false')::numeric, 0)
         else coalesce(cost.usual, 0) end as cost,
       own.name as list_money,
       {{list_price}} as plain, {{round_prices}} as rounded, {{quantities}} as quantities,
       every_list.lists, coalesce(ranked.rules, '[]') as rules,
       {{#currency_rates}}(select json_object_agg(rate.name, rate.rate) from rate){{/currency_rates}}
       {{^currency_rates}}null::json{{/currency_rates}} as rates
  from item
  join product_product p on p.id = item.id
  join product_template t on t.id = item.template
  cross join company cross join every_list cross join cost
  -- a sales price is in the money of the product's company, else of the first company that there is
  join res_company maker on maker.id = coalesce(t.company_id, (select min(id) from res_company))
  join res_currency own on own.id = maker.currency_id
  left join ranked on ranked.product = item.id
